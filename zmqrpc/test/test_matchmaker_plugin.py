"""
The example of a third party's matchmaker, as a third party has it.

It is built, installed into a clean environment beside zmqrpc, runs its own tests there, and carries a real call.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.processes import CHECKOUT, Running
from zmqrpc.test.tap.test_twistd import CALC
from zmqrpc.test.test_packaging import INSTALL, TWISTD, build, make_environment, run

ZMQRPC = "from zmqrpc.cli import main; main()"


class MatchmakerPluginTests(SynchronousTestCase):
    def test_example(self):
        _, wheel, _ = build()
        home = Path(self.mktemp()).absolute()
        home.mkdir(parents=True)
        skip = shutil.ignore_patterns("__pycache__", "dropin.cache", "build", "*.egg-info")
        shutil.copytree(CHECKOUT / "examples" / "matchmaker-plugin", home / "source", ignore=skip)
        python = make_environment(home / "venv")
        url = f"zmq+directory://{home}/members"
        call = (python, "-c", ZMQRPC, "call", "--url", url, "--timeout", "10", "calc.one", "add", "a=1", "b=2")
        run(python, *INSTALL, wheel, cwd=home)
        with self.assertRaises(AssertionError) as before:
            run(*call, cwd=home)
        self.assertIn("status 2", str(before.exception))
        self.assertIn("no matchmaker 'directory'; valid are dummy, file, redis, sqlite", str(before.exception))

        run(python, *INSTALL, home / "source", cwd=home)
        tested = run(python, "-m", "twisted.trial", "zmqrpc_directory.test_contract", cwd=home)
        self.assertRegex(tested, r"Ran \d\d tests in .*\n\nPASSED \(successes=\d\d\)")

        (home / "calc.py").write_text("\n".join(line.removeprefix("    ") for line in CALC.splitlines()))
        server = Running(
            [
                *(str(python), "-c", TWISTD, "-n", "--pidfile=", "zmq-rpc-server", "--url", url),
                *("--app", "calc:Calc", "--topic", "calc", "--server", "one"),
            ],
            home,
            {"PATH": "/usr/bin:/bin", "HOME": str(home)},
        )
        self.addCleanup(server.kill)
        server.says("ready: registered")
        self.assertEqual(run(*call, cwd=home), "3\n")
        server.signal()
        server.ends()
        self.assertEqual(list((home / "members").iterdir()), [])
