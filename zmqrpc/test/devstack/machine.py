"""A machine for the tests of the DevStack plugin: a directory in which its phases run, and nothing outside it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from zmqrpc.test.processes import CHECKOUT

LIMIT = 300
"""Seconds within which the phases must have come to an end; reached only by a failure."""

HERE = Path(__file__).parent
PLUGIN = CHECKOUT / "devstack"

DEVSTACK = os.environ.get("ZMQRPC_DEVSTACK", "")
"""A checkout of DevStack, with whose own functions the tests run as well; empty for none."""

PROXY = "oslo-messaging-zmq-proxy"
PROXY_CODE = f"import sys; from zmqrpc.tap.proxy import main; sys.argv[0] = {PROXY!r}; main()"
"""What the program of that name does, as setup.py has it."""

RECORDED = ("apt-get", "dnf", "dpkg", "lsb_release", "pip", "rpm", "service", "systemctl")
"""Programs that would change or ask the machine, and are written down instead."""

DEBIAN = {"-i": "Debian", "-r": "12", "-c": "bookworm"}
"""What ``lsb_release`` answers there to its options."""

_RECORD = """\
#!/bin/sh
{{ printf '%s' '{name}'; for word; do printf ' %s' "$word"; done; echo; }} >>"$SCRATCH/commands"
{then}
"""

_HOSTNAME = """\
#!/bin/sh
if [ "$1" = -I ]; then echo "$ADDRESSES"; else echo node.example; fi
"""

_GETENT = """\
#!/bin/sh
for host in $HOSTS; do
    if [ "$1 ${host%%=*}" = "ahosts $2" ]; then echo "${host#*=} STREAM $2"; echo "${host#*=} DGRAM"; exit; fi
done
exit 2
"""

_SUDO = """\
#!/bin/sh
# Options of sudo, and a directory before the name, are left out; env(1) takes the variables.
while [ "${1#-}" != "$1" ]; do shift; done
if [ "${1##*/}" = systemctl ]; then shift; set -- systemctl "$@"; fi
exec env "$@"
"""


def need_plugin() -> None:
    """
    Make sure that there is what is tested.

    :raises SkipTest: zmqrpc runs from an installation.
    """
    if not PLUGIN.exists():
        raise SkipTest("zmqrpc runs from an installation, where the plugin is not")


class Machine:
    """
    One machine on which DevStack runs, as far as messages are concerned.

    :param local_conf: the text of ``local.conf``.
    :param name: how ``enable_plugin`` names the plugin: the name of its directory.
    :param devstack: a checkout of DevStack; empty for the doubles of its functions.
    :param vendor: what ``lsb_release`` says.
    :param installed: whether every package is installed already.
    :param options: environment variables, which stand for lines of ``local.conf``; also ``ADDRESSES``, those that the
        machine has (``A B``), and ``HOSTS``, the names that can be resolved (``NAME=ADDRESS NAME=ADDRESS``).
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        local_conf: str,
        name: str = "zmqrpc",
        devstack: str = "",
        vendor: Mapping[str, str] = DEBIAN,
        installed: bool = False,
        **options: Any,
    ) -> None:
        need_plugin()
        self.root = Path(case.mktemp()).absolute()
        for directory in ("bin", "devstack/files", "stack/requirements", "stack/data/venv/bin", "systemd"):
            (self.root / directory).mkdir(parents=True)
        self.plugin = self.root / "stack" / name
        self.plugin.symlink_to(CHECKOUT)
        (self.root / "devstack" / "local.conf").write_text(local_conf)
        self._environment = {
            "PATH": f"{self.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.root),
            "SCRATCH": str(self.root),
            "DEVSTACK": devstack,
            "ZEROMQ_CONF_DIR": str(self.root / "oslo"),
            **{key: str(value) for key, value in options.items()},
        }
        answers = "\n".join(f"    *{option}*) echo '{answer}' ;;" for option, answer in vendor.items())
        # A unit is as the last command about it has left it.
        asked = f"exit {int(not installed)}"
        then = {"dpkg": asked, "rpm": asked, "lsb_release": f'case "$*" in\n{answers}\nesac'}
        last = 'grep -E "^systemctl (enable|disable) $2$" "$SCRATCH/commands" | tail -n 1'
        then["systemctl"] = f'case "$1" in is-enabled) [ "$({last})" = "systemctl enable $2" ] ;; esac'
        for program in RECORDED:
            self._write(self.root / "bin" / program, _RECORD.format(name=program, then=then.get(program, "exit 0")))
        for name, text in (("sudo", _SUDO), ("hostname", _HOSTNAME), ("getent", _GETENT)):
            self._write(self.root / "bin" / name, text)
        pip, proxy = (self.root / "stack/data/venv/bin" / name for name in ("pip", PROXY))
        self._write(pip, _RECORD.format(name="venv/pip", then="exit 0"))
        self._write(proxy, f"#!{sys.executable} -P\n{PROXY_CODE}\n")

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def run(self, program: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one of the programs of ``phases.sh``; whatever it ends with."""
        return subprocess.run(
            ["/bin/bash", str(HERE / "phases.sh"), program],
            cwd=self.root,
            env={**self._environment, **{key: str(value) for key, value in options.items()}},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def ends_well(self, program: str) -> str:
        """Run one of these programs, which must have no complaint; return what it has printed."""
        ended = self.run(program)
        if ended.returncode or ended.stderr:
            raise AssertionError(f"{program} ended with status {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
        return ended.stdout

    def script(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Run lines of bash, with the functions of DevStack; whatever they end with."""
        path = self.root / "script"
        path.write_text("\n".join(lines) + "\n")
        return self.run(str(path))

    def answers(self, *lines: str) -> list[str]:
        """Run lines of bash after the phase pre-install, without a complaint; return the lines that they print."""
        ended = self.script("run_phase source >/dev/null", "run_phase stack pre-install", *lines)
        if ended.returncode or ended.stderr:
            raise AssertionError(f"{lines} ended with status {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
        return ended.stdout.splitlines()

    def option(self, name: str) -> str:
        """Return the value that an option was given."""
        return self._environment[name]

    def settings(self) -> dict[str, str]:
        """Return the variables that the plugin has after its settings, and ``ENABLED_SERVICES``."""
        lines = [line for line in self.ends_well("settings").splitlines() if line.startswith("declare -")]
        assignments = [shlex.split(line)[2].partition("=") for line in lines]
        return {name: value for name, _, value in assignments}

    def path(self, name: str) -> Path:
        """Return the path of a configuration file: ``nova``, or that of a proxy (``oslo/zeromq``)."""
        return self.root / f"{name if '/' in name else f'etc/{name}'}.conf"

    def conf(self, name: str) -> dict[str, dict[str, str]]:
        """Read a configuration file: its sections."""
        return read_ini(self.path(name), "conf")

    @property
    def units(self) -> dict[str, list[str]]:
        """The services that have a unit of systemd, and the words of the command of each."""
        return {
            path.name.removeprefix("devstack@").removesuffix(".service"): shlex.split(
                read_ini(path, "unit")["Service"]["ExecStart"]
            )
            for path in (self.root / "systemd").iterdir()
        }

    @property
    def commands(self) -> list[str]:
        """What was recorded, without questions."""
        path = self.root / "commands"
        lines = path.read_text().splitlines() if path.exists() else []
        asked = ("dpkg", "rpm", "lsb_release", "systemctl is-enabled", "systemctl daemon-reload")
        return [line for line in lines if not line.startswith(asked)]


def read_ini(path: Path, default: str) -> dict[str, dict[str, str]]:
    """
    Read a file of sections as it is.

    :param default: a name that no section has, so that ``[DEFAULT]`` is one like others.
    """
    parser = ConfigParser(interpolation=None, default_section=default)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


def local_conf(name: str) -> str:
    """Return the text of a ``local.conf`` as a manual prints it: ``older`` or ``newer``."""
    return (HERE / f"{name}.local.conf").read_text()
