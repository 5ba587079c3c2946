"""The doubles of DevStack's functions do what DevStack's own do, and all our files of bash are without fault."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.devstack.machine import DEVSTACK, HERE, PLUGIN, Machine, need_plugin

FILE = """
# a comment
[DEFAULT]
debug = True
transport_url=rabbit://x

[other]
transport_url = left alone
# transport_url = of a comment

[empty]
"""

SCRIPTS = {
    "ini": """
        file=$SCRATCH/file.conf
        for prefix in "" -sudo; do
            iniset $prefix $file DEFAULT transport_url 'zmq+redis://:p%40@[::1]:6379/1?a=b&c=d'
            iniset $prefix $file DEFAULT debug "a   b"
            iniset $prefix $file DEFAULT new "value"
            iniset $prefix $file DEFAULT new "another"
            iniset $prefix $file third one "1"
            iniset $prefix $file empty two ""
            iniset $prefix $file third back 'a\\b & c'
            iniset $prefix $SCRATCH/made.conf first one 1
            iniset $prefix $SCRATCH/made.conf first two 2
            iniget $file DEFAULT transport_url
            iniget $file DEFAULT nothing
            iniget $file nowhere debug
            inidelete $prefix $file other transport_url
            inidelete $prefix $file other nothing
            inidelete $prefix $file nowhere debug
            cat $file $SCRATCH/made.conf
        done
    """,
    "values": """
        for value in 1 yes Yes YES true True TRUE 0 no No NO false False FALSE "" odd; do
            VALUE=$value
            echo "$value: $(trueorfalse True VALUE) $(trueorfalse False VALUE)"
        done
        unset VALUE
        trueorfalse True VALUE
        ipv6_unquote "[2001:db8::1]"
        ipv6_unquote 192.0.2.1
        get_python_exec_prefix
        GLOBAL_VENV=False
        get_python_exec_prefix
    """,
    "services": """
        ENABLED_SERVICES=a,rabbit,b,-rabbit,zeromq
        disable_negated_services
        echo $ENABLED_SERVICES
        enable_service c b zeromq-local
        disable_service a d
        enable_service d
        echo $ENABLED_SERVICES $DISABLED_SERVICES
        for service in a b zeromq zeromq-local local zero; do
            is_service_enabled $service && echo $service
        done
        is_service_enabled a b && echo one of them
        verify_disabled_services && echo as it should be
        ENABLED_SERVICES+=,a
        verify_disabled_services
        echo not reached
    """,
    "processes": """
        ENABLED_SERVICES=zeromq,zeromq-local
        run_process zeromq "/bin/one --option value" >/dev/null
        run_process zeromq "/bin/two" >/dev/null
        run_process zeromq-redis "/bin/three"
        stop_process zeromq
        stop_process zeromq-local
        stop_process zeromq-redis
        cat $SYSTEMD_DIR/*
        run_process zeromq "relative"
        echo not reached
    """,
    "packages": """
        is_ubuntu && echo deb
        is_fedora && echo rpm
        echo $DISTRO
        is_package_installed redis-server || echo not there
        RETRY_UPDATE=False REPOS_UPDATED=True install_package redis-server
        stop_service redis-server
        pip_install -e /some/where[oslo] >/dev/null
        OFFLINE=True
        install_package redis-server
        pip_install -e /some/where[oslo]
    """,
    "plugins": """
        enable_plugin one https://example.org/one
        enable_plugin two https://example.org/two stable
        echo $DEVSTACK_PLUGINS ${GITDIR[one]} ${GITREPO[two]} ${GITBRANCH[one]} ${GITBRANCH[two]}
        mkdir -p $DEST/one/devstack
        echo 'echo settings "$@"' >$DEST/one/devstack/settings
        echo 'echo plugin "$@"' >$DEST/one/devstack/plugin.sh
        run_phase source
        run_phase stack pre-install
        run_phase unstack
        enable_plugin one https://example.org/one
        echo not reached
    """,
    "rabbit": """
        RABBIT_USERID=stackrabbit RABBIT_PASSWORD=secret RABBIT_HOST=127.0.0.1
        get_transport_url cell
        get_notification_url
        iniset_rpc_backend nova $SCRATCH/x.conf DEFAULT cell
        iniset_rpc_backend nova $SCRATCH/x.conf other
        cat $SCRATCH/x.conf
    """,
    "no rabbit": """
        ENABLED_SERVICES=key
        unset RABBIT_HOST
        get_transport_url
        rpc_backend_add_vhost cell || echo refused
        iniset_rpc_backend nova $SCRATCH/x.conf
        ls $SCRATCH/x.conf 2>/dev/null || echo no file
    """,
    "die": """
        die $LINENO "the reason"
        echo not reached
    """,
    "distro": """
        exit_distro_not_supported "the store"
        echo not reached
    """,
}
"""What is done with both; each writes and prints what has to be the same."""


class BashTests(SynchronousTestCase):
    """shellcheck finds nothing, where there is one, and bash can read everything."""

    def setUp(self) -> None:
        need_plugin()

    def files(self) -> list[Path]:
        ours = [PLUGIN / name for name in ("plugin.sh", "settings")]
        return [*ours, *sorted((PLUGIN / "lib").iterdir()), *HERE.glob("*.sh")]

    def test_order(self) -> None:
        """Every file of `lib/` is sourced, once, and uses nothing of a later one; the page lists them in this order."""
        sourced = [
            name
            for file in ("settings", "plugin.sh")
            for name in re.findall(r"^ *source .*/devstack/lib/(\w+)", (PLUGIN / file).read_text(), re.MULTILINE)
        ]
        self.assertEqual(sorted(sourced), sorted(path.name for path in (PLUGIN / "lib").iterdir()))
        listed = re.findall(r"^``lib/(\w+)``", (PLUGIN / "README.rst").read_text(), re.MULTILINE)
        self.assertEqual(listed, sourced)
        known: set[str] = set()
        for name in sourced:
            text = (PLUGIN / "lib" / name).read_text()
            made = re.findall(r"^function (\w+)", text, re.MULTILINE)
            self.assertEqual(known.intersection(made), set(), name)
            known.update(made)
            self.assertEqual(set(re.findall(r"\bzeromq_\w+", text)) - known, set(), name)

    def test_syntax(self) -> None:
        for path in self.files():
            done = subprocess.run(["/bin/bash", "-n", str(path)], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), path)

    def test_shellcheck(self) -> None:
        checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
        if checker is None:
            # It comes with the tools of developers, for the machines that there are builds of it for.
            return
        for directory in (PLUGIN, HERE):
            # Where it finds the files that they source.
            names = [str(path.relative_to(directory)) for path in self.files() if path.is_relative_to(directory)]
            done = subprocess.run(
                [checker, "--external-sources", *names], cwd=directory, capture_output=True, text=True, check=False
            )
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class SeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        need_plugin()

    def test_lines(self) -> None:
        """The files of the manuals have the lines that these print, in their order."""
        older, newer = ((HERE / f"{name}.local.conf").read_text().splitlines() for name in ("older", "newer"))
        plugin = "enable_plugin zmq https://github.com/openstack/devstack-plugin-zmq.git"
        begin = "[[local|localrc]]"
        self.assertEqual(older, [begin, "ENABLED_SERVICES+=,-rabbit,zeromq", "ZEROMQ_MATCHMAKER=redis", plugin])
        self.assertEqual(
            [line for line in newer if line],
            [
                begin,
                *(f"{name}=password" for name in ("DATABASE_PASSWORD", "ADMIN_PASSWORD")),
                *(f"{name}=password" for name in ("SERVICE_PASSWORD", "SERVICE_TOKEN")),
                plugin,
                "OSLOMSG_REPO=https://review.openstack.org/openstack/oslo.messaging",
                "OSLOMSG_BRANCH=master",
                "ZEROMQ_MATCHMAKER=redis",
                "LIBS_FROM_GIT=oslo.messaging",
                "ENABLE_DEBUG_LOG_LEVEL=True",
            ],
        )


if DEVSTACK:

    class ComparedTests(SynchronousTestCase):
        def done(self, script: str, devstack: str) -> tuple[list[str], list[str], bool]:
            """Run a script: what it prints, what it records, and whether it ends well."""
            machine = Machine(self, "[[local|localrc]]\n", devstack=devstack)
            (machine.root / "file.conf").write_text(FILE)
            ended = machine.script(script)
            # A call trace goes before the end of a failure, and a place into a warning.
            lines = ended.stdout.partition("[Call Trace]")[0].replace(str(machine.root), "").splitlines()
            lines = [line for line in lines if not line.startswith("[WARNING]")]
            return lines, [line.replace(str(machine.root), "") for line in machine.commands], ended.returncode == 0

        def test_same(self) -> None:
            for name, script in SCRIPTS.items():
                for double, original in zip(self.done(script, ""), self.done(script, DEVSTACK), strict=True):
                    self.assertEqual(double, original, name)

        def test_not_reached(self) -> None:
            for name, script in SCRIPTS.items():
                lines, _, well = self.done(script, "")
                self.assertNotIn("not reached", lines, name)
                self.assertEqual(well, "not reached" not in script, name)
