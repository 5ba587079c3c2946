"""
The example of a third party's proxy, as a third party has it.

It is built, installed into a clean environment beside zmqrpc, runs its own tests there, and starts by its name.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.processes import CHECKOUT, Running
from zmqrpc.test.test_packaging import INSTALL, TWISTD, build, make_environment, run


class ProxyPluginTests(SynchronousTestCase):
    def test_example(self):
        _, wheel, _ = build()
        home = Path(self.mktemp()).absolute()
        home.mkdir(parents=True)
        skip = shutil.ignore_patterns("__pycache__", "dropin.cache", "build", "*.egg-info")
        shutil.copytree(CHECKOUT / "examples" / "proxy-plugin", home / "source", ignore=skip)
        python = make_environment(home / "venv")
        words = [str(python), "-c", TWISTD, "-n", "--pidfile=", "zmq-proxy", "--type", "metered", "-H", "localhost"]
        words += ["--url", f"zmq+sqlite://{home}/matchmaker.db"]
        run(python, *INSTALL, wheel, cwd=home)
        with self.assertRaises(AssertionError) as before:
            run(*words, cwd=home)
        self.assertIn("status 2", str(before.exception))
        self.assertIn("no kind of proxy 'metered'; valid are local-publisher, router-proxy", str(before.exception))

        run(python, *INSTALL, home / "source", cwd=home)
        tested = run(python, "-m", "twisted.trial", "zmqrpc_metered.test_contract", cwd=home)
        self.assertRegex(tested, r"Ran \d\d tests in .*\n\nPASSED \(successes=\d\d\)")

        proxy = Running(words, home, {"PATH": "/usr/bin:/bin", "HOME": str(home)})
        self.addCleanup(proxy.kill)
        proxy.says("metered localhost is a router at tcp://127.0.0.1:")
        proxy.says("ready: registered")
        proxy.signal()
        proxy.ends()
