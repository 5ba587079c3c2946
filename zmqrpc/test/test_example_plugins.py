"""
The examples of plugins as a third party has them.

Each is built, installed into a clean environment beside zmqrpc, runs its own tests there, and then does its work.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.processes import CHECKOUT, Running
from zmqrpc.test.tap.test_twistd import CALC
from zmqrpc.test.test_packaging import INSTALL, TWISTD, build, make_environment, run

ZMQRPC = "from zmqrpc.cli import main; main()"


class ExamplePluginTests(SynchronousTestCase):
    def environment(self, name):
        """Make an environment with zmqrpc, and a copy of an example that is not installed yet."""
        _, wheel, _ = build()
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(parents=True)
        skip = shutil.ignore_patterns("__pycache__", "dropin.cache", "build", "*.egg-info")
        shutil.copytree(CHECKOUT / "examples" / name, self.home / "source", ignore=skip)
        self.python = make_environment(self.home / "venv")
        run(self.python, *INSTALL, wheel, cwd=self.home)

    def twistd(self, *options):
        return [str(self.python), "-c", TWISTD, "-n", "--pidfile=", *options]

    def refused(self, text, words):
        """Check what is said while it is not installed."""
        with self.assertRaises(AssertionError) as before:
            run(*words, cwd=self.home)
        self.assertIn("status 2", str(before.exception))
        self.assertIn(text, str(before.exception))

    def install(self, suite):
        """Install it, and run its own tests."""
        run(self.python, *INSTALL, self.home / "source", cwd=self.home)
        tested = run(self.python, "-m", "twisted.trial", suite, cwd=self.home)
        self.assertRegex(tested, r"Ran \d\d tests in .*\n\nPASSED \(successes=\d\d\)")

    def start(self, words):
        running = Running(words, self.home, {"PATH": "/usr/bin:/bin", "HOME": str(self.home)})
        self.addCleanup(running.kill)
        running.says("ready: registered")
        return running

    def check_call(self, url, text, suite, *options):
        """Have a call be refused, install the plugin, and have a server answer the call."""
        options = ("--url", url, "--timeout", "10", *options)
        call = (self.python, "-c", ZMQRPC, "call", *options, "calc.one", "add", "a=1", "b=2")
        self.refused(text, call)
        self.install(suite)
        (self.home / "calc.py").write_text("\n".join(line.removeprefix("    ") for line in CALC.splitlines()))
        serving = ("zmq-rpc-server", "--url", url, "--app", "calc:Calc", "--topic", "calc", "--server", "one")
        server = self.start(self.twistd(*serving))
        self.assertEqual(run(*call, cwd=self.home), "3\n")
        server.signal()
        server.ends()

    def test_matchmaker(self):
        self.environment("matchmaker-plugin")
        url = f"zmq+directory://{self.home}/members"
        text = "no matchmaker 'directory'; valid are dummy, etcd, file, redis, sentinel, sqlite"
        self.check_call(url, text, "zmqrpc_directory")
        self.assertEqual(list((self.home / "members").iterdir()), [])

    def test_strategy(self):
        self.environment("strategy-plugin")
        url = f"zmq+sqlite://{self.home}/matchmaker.db?zmq_topology=lazy-direct"
        text = "there is no topology 'lazy-direct'; valid are dynamic-direct, "
        self.check_call(url, text, "zmqrpc_lazy.test_contract", "--wait")

    def test_proxy(self):
        self.environment("proxy-plugin")
        url = f"zmq+sqlite://{self.home}/matchmaker.db"
        words = self.twistd("zmq-proxy", "--type", "metered", "-H", "localhost", "--url", url)
        self.refused("no kind of proxy 'metered'; valid are local-publisher, router-proxy", words)
        self.install("zmqrpc_metered.test_contract")
        proxy = self.start(words)
        self.assertIn("metered localhost is a router at tcp://127.0.0.1:", proxy.out)
        proxy.signal()
        proxy.ends()
