"""The contract of router proxies, which zmqrpc brings along, and what only this one does."""

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.testing.proxy_contract import RouterContract


class MeteredTests(RouterContract, SynchronousTestCase):
    kind = "metered"

    def test_line(self):
        """Once a minute there is a line with what was sent."""
        lines = []
        observe = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        _, client, server = self.pair()
        client.send_to(server, bytes(5000))
        self.network.run(130)
        said = [line for line in lines if "bytes in the last minute" in line]
        self.assertEqual(len(said), 2)
        self.assertRegex(said[0], r": [0-9a-f]{10} 50\d\d, [0-9a-f]{10} \d\d$")
        self.assertTrue(said[1].endswith("none"))
