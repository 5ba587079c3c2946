"""
What an installation gives, and leaves behind when it is removed: from a wheel, from a directory, and editable.

All are made for real, from a copy of the checkout, into virtual environments of their own. Nothing is downloaded: what
zmqrpc needs is lent by the environment that runs the tests.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import twisted
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import zmqrpc
from zmqrpc.test.processes import CHECKOUT

PACKAGED = [
    *("setup.py", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE", "share", "zmqrpc", "twisted", "devstack"),
]
TWISTD = "from twisted.scripts.twistd import run; run()"
IGNORED = shutil.ignore_patterns("__pycache__", "dropin.cache")
SHARED = [
    "share/man/man1/zmqrpc.1",
    "share/bash-completion/completions/zmqrpc",
    "share/zsh/site-functions/_zmqrpc",
]
"""What man(1) and shells look for there."""

PIP = ["-m", "pip", "--disable-pip-version-check", "--quiet"]
INSTALL = [*PIP, "install", "--no-deps", "--no-build-isolation", "--no-compile"]
"""What is used is compiled when it is used, which is little."""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end and return what it printed; what it printed is also the text of its failure."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        # An isolated interpreter with an empty environment: neither the checkout nor somebody's settings leak in.
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def copy_checkout(to: Path, *more: str) -> Path:
    """Copy what a build reads, so that it leaves nothing behind in the checkout."""
    to.mkdir()
    for name in (*PACKAGED, *more):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=IGNORED)
        else:
            shutil.copy(source, to / name)
    return to


def make_environment(at: Path, *commands: str) -> Path:
    """
    Make a virtual environment that has everything but zmqrpc, and return its interpreter.

    Packages are links, except Twisted: an ordinary installation puts our plugin into Twisted's own directory. Of that
    everything is, but the directory of plugins.

    :param commands: those of Twisted's that it has.
    """
    run(sys.executable, "-m", "venv", "--without-pip", at, cwd=at.parent)
    [packages] = at.glob("lib/python*/site-packages")
    home = Path(twisted.__file__).parent
    skip = shutil.ignore_patterns("__pycache__", "dropin.cache", "zmqrpc_plugins.py")
    shutil.copytree(home / "plugins", packages / "twisted" / "plugins", ignore=skip)
    for item in home.iterdir():
        if item.name != "plugins":
            (packages / "twisted" / item.name).symlink_to(item.absolute())
    for lender in [home.parent, *(Path(entry) for entry in sys.path if entry.endswith("-packages"))]:
        for item in lender.iterdir():
            borrowed = packages / item.name
            if "zmqrpc" not in item.name and item.suffix != ".pth" and not borrowed.exists():
                borrowed.symlink_to(item)
    for name in commands:
        script = at / "bin" / name
        script.write_text(f"#!{at / 'bin' / 'python'}\nfrom twisted.scripts.{name} import run\n\nrun()\n")
        script.chmod(0o755)
    return at / "bin" / "python"


@cache
def build() -> tuple[Path, Path, Path]:
    """Build once for all tests: return the copied checkout, which is not to be touched, the wheel, and its sdist."""
    if not (CHECKOUT / "setup.py").exists():
        raise SkipTest("zmqrpc runs from an installation, where there is nothing to build it from")
    here = Path.cwd()
    # Each process of `trial -j` has a directory with a number, below the one that they share.
    home = (here.parent if here.name.isdigit() else here) / "packaging"
    home.mkdir(exist_ok=True)
    source, built, done = home / "source", home / "built", home / "done"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            copy_checkout(source)
            run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, source, cwd=home)
            done.touch()
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    return source, wheel, sdist


def files_of(python: Path, package: str) -> set[str]:
    """List what is installed of a package, without what Python and Twisted write beside it."""
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    files = {str(path.relative_to(packages)) for path in (packages / package).rglob("*") if path.is_file()}
    return {name for name in files if "__pycache__" not in name and not name.endswith("dropin.cache")}


class InstallationTests(SynchronousTestCase):
    """What a user has after `pip install`."""

    def setUp(self) -> None:
        _, self.wheel, _ = build()
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(parents=True)

    def install(self, *what: str | Path) -> Path:
        """Install into a new environment in which `twistd` did not list our commands, and return its interpreter."""
        python = make_environment(self.home / "venv")
        self.assertNotIn("zmq-rpc-server", self.twistd_help(python))
        run(python, *INSTALL, *what, cwd=self.home)
        return python

    def twistd_help(self, python: Path) -> str:
        text = run(python, "-c", TWISTD, "--help", cwd=self.home)
        self.assertIn("Commands:", text)
        return text

    def assert_commands(self, python: Path, root: Path) -> None:
        """Check what an installation offers, and that it is the one below `root` that does."""
        self.assertRegex(self.twistd_help(python), r"(?m)^\s+zmq-rpc-server\s+Run RPC servers$")
        where = "import zmqrpc, twisted.plugins.zmqrpc_plugins as p; print(zmqrpc.__file__, p.__file__, sep='\\n')"
        for name in run(python, "-c", where, cwd=self.home).splitlines():
            self.assertTrue(Path(name).is_relative_to(root), f"{name} is not below {root}")
        version = f"zmqrpc {zmqrpc.__version__}\n"
        self.assertEqual(run(python.parent / "zmqrpc", "--version", cwd=self.home), version)
        self.assertEqual(run(python, "-m", "zmqrpc.cli", "--version", cwd=self.home), version)

    def assert_goes(self, python: Path) -> None:
        """Remove it: everything of ours goes, and Twisted is as it was in an environment that never had it."""
        run(python, *PIP, "uninstall", "--yes", "zmqrpc", cwd=self.home)
        self.assertEqual(files_of(python, "twisted"), files_of(make_environment(self.home / "other"), "twisted"))
        self.assertEqual(files_of(python, "zmqrpc"), set())
        self.assertFalse((python.parent / "zmqrpc").exists())
        self.assertNotIn("zmq-rpc-server", self.twistd_help(python))

    def test_wheel(self) -> None:
        """As most users install, compiled."""
        python = make_environment(self.home / "venv")
        self.assertNotIn("zmq-rpc-server", self.twistd_help(python))
        run(python, *PIP, "install", "--no-deps", self.wheel, cwd=self.home)
        root = python.parents[1]
        self.assert_commands(python, root)
        for path in SHARED:
            self.assertEqual((root / path).read_bytes(), (CHECKOUT / path).read_bytes())
        self.assert_goes(python)

    def test_directory(self) -> None:
        python = self.install(copy_checkout(self.home / "source"))
        self.assert_commands(python, python.parents[1])

    def test_editable(self) -> None:
        source = copy_checkout(self.home / "source")
        python = self.install("--editable", source)
        self.assert_commands(python, source)
        self.assert_goes(python)

    def test_unwritable(self) -> None:
        """
        An installation that its user may not write to: nothing is said of it at a start.

        Twisted wants to keep a list of plugins beside them.
        """
        python = self.install(self.wheel)
        for written in self.home.rglob("dropin.cache"):
            written.unlink()
        for directory in self.home.rglob("plugins"):
            directory.chmod(0o555)
            self.addCleanup(directory.chmod, 0o755)
        # Root may write everywhere, unless that right is taken from it.
        humbly = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*humbly, python, "-c", TWISTD, "zmq-rpc-server", "--app", "nothing"],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "ZMQRPC_URL": "zmq://"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(list(self.home.rglob("dropin.cache")), [])
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("there is no application plugin 'nothing'; there are none", done.stderr)

    def test_application_plugin(self) -> None:
        """The example of an application that is a distribution of its own: its tests pass, and it is called."""
        source = self.home / "application-plugin"
        shutil.copytree(CHECKOUT / "examples" / "application-plugin", source, ignore=IGNORED)
        python = self.install(self.wheel)
        for options in ([], ["--editable"]):
            run(python, *INSTALL, *options, source, cwd=self.home)
            tested = run(python, "-m", "twisted.trial", "wordcount", cwd=self.home)
            self.assertRegex(tested, r"Ran \d+ tests .*\n\nPASSED \(successes=8\)")
            self.assertEqual(self.call_wordcount(python), "3\n")
            run(python, *PIP, "uninstall", "--yes", "zmqrpc-wordcount", cwd=self.home)
            self.assertIn("zmq-rpc-server", self.twistd_help(python))

    def call_wordcount(self, python: Path) -> str:
        """Run the application by its name, and call it."""
        url = f"zmq+sqlite://{self.home}/matchmaker.db"
        server = subprocess.Popen(
            [python, "-c", TWISTD, "-n", "--pidfile=", "zmq-rpc-server", "--app", "wordcount", "--url", url],
            cwd=self.home,
            env={"PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
        )
        try:
            words = ["call", "--url", url, "--wait", "--timeout", "30", "words", "count", "text=one two three"]
            return run(python.parent / "zmqrpc", *words, cwd=self.home)
        finally:
            server.terminate()
            server.wait(30)

    def test_wheel_holds_what_it_should(self) -> None:
        """
        The plugin, the typing marker, the licence; and nothing of Twisted's.

        An ``__init__.py`` of ours there would replace Twisted's.
        """
        with zipfile.ZipFile(self.wheel) as archive:
            names = set(archive.namelist())
        self.assertEqual({n for n in names if n.startswith("twisted/")}, {"twisted/plugins/zmqrpc_plugins.py"})
        self.assertLessEqual({"zmqrpc/py.typed", "zmqrpc/plugins/__init__.py"}, names)
        self.assertTrue([n for n in names if n.endswith("/LICENSE")], names)
        tops = {name.partition("/")[0] for name in names}
        data = f"zmqrpc-{zmqrpc.__version__}.data"
        self.assertEqual(tops, {"twisted", "zmqrpc", f"zmqrpc-{zmqrpc.__version__}.dist-info", data})
        self.assertEqual({n for n in names if n.startswith(data)}, {f"{data}/data/{path}" for path in SHARED})

    def test_sdist_holds_what_it_should(self) -> None:
        """The DevStack plugin, and what its tests need beside Python."""
        _, _, sdist = build()
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for directory in ("devstack", "zmqrpc/test/devstack"):
            files = [path for path in (CHECKOUT / directory).rglob("*") if path.is_file()]
            wanted = {str(path.relative_to(CHECKOUT)) for path in files if "__pycache__" not in path.parts}
            self.assertTrue(wanted)
            self.assertEqual(wanted - names, set())
