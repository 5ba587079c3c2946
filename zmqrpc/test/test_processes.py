"""That the processes of tests are as those of users."""

import signal
import sys

from zmqrpc.test.processes import ProcessTestCase, Running


class RunningTests(ProcessTestCase):
    def test_ctrl_c(self):
        """A child heeds SIGINT, also when the tests ignore it, as they do when a script runs them in the background."""
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        code = "import time; print('begun', flush=True); time.sleep(20)"
        child = Running([sys.executable, "-c", code], self.directory, self.environment)
        self.addCleanup(child.kill)
        child.says("begun")
        child.signal(signal.SIGINT)
        self.assertEqual(child.ends(), -signal.SIGINT)
        self.assertIn("KeyboardInterrupt", child.err)
