"""
`twistd` lists our commands after an ordinary and after an editable installation.

Both are made for real, from a copy of the checkout, into virtual environments of their own. Nothing is downloaded: what
zmqrpc needs is lent by the environment that runs the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import twisted
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import zmqrpc

CHECKOUT = Path(zmqrpc.__file__).parents[1]
PACKAGED = ["setup.py", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE", "zmqrpc", "twisted"]
TWISTD = "from twisted.scripts.twistd import run; run()"
PIP = ["-m", "pip", "--disable-pip-version-check", "--quiet"]


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
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        else:
            shutil.copy(source, to / name)
    return to


def make_environment(at: Path, *commands: str) -> Path:
    """
    Make a virtual environment that has everything but zmqrpc, and return its interpreter.

    Packages are links, except Twisted: an ordinary installation puts our plugin into Twisted's own directory.

    :param commands: those of Twisted's that it has.
    """
    run(sys.executable, "-m", "venv", "--without-pip", at, cwd=at.parent)
    [packages] = at.glob("lib/python*/site-packages")
    home = Path(twisted.__file__).parent
    skip = shutil.ignore_patterns("test", "__pycache__", "dropin.cache", "zmqrpc_plugins.py")
    shutil.copytree(home, packages / "twisted", ignore=skip)
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
def build() -> tuple[Path, Path]:
    """Build once for all tests: return the copied checkout and the wheel made from it."""
    if not (CHECKOUT / "setup.py").exists():
        raise SkipTest("zmqrpc runs from an installation, where there is nothing to build it from")
    home = Path("packaging").absolute()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    source = copy_checkout(home / "source")
    options: list[str | Path] = ["--no-deps", "--no-build-isolation", "--wheel-dir", home / "wheels"]
    run(sys.executable, *PIP, "wheel", *options, source, cwd=home)
    [wheel] = (home / "wheels").iterdir()
    return source, wheel


class InstallationTests(SynchronousTestCase):
    """What a user has after `pip install`."""

    def setUp(self) -> None:
        self.source, self.wheel = build()
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(parents=True)

    def install(self, *what: str | Path) -> Path:
        """Install into a new environment in which `twistd` did not list our commands, and return its interpreter."""
        python = make_environment(self.home / "venv")
        self.assertNotIn("zmq-rpc-server", self.twistd_help(python))
        run(python, *PIP, "install", "--no-deps", "--no-build-isolation", *what, cwd=self.home)
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
        self.assertTrue((python.parent / "zmqrpc").exists(), "the command zmqrpc was not installed")

    def test_ordinary(self) -> None:
        python = self.install(self.wheel)
        self.assert_commands(python, python.parents[1])

    def test_editable(self) -> None:
        self.assert_commands(self.install("--editable", self.source), self.source)

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
        self.assertEqual(tops, {"twisted", "zmqrpc", f"zmqrpc-{zmqrpc.__version__}.dist-info"})
