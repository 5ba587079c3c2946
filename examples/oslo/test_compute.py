"""The tests of the service compute.py: in one process, without a store and without the network."""

import oslo_messaging
from compute import Compute
from oslo_config import cfg
from testtools import TestCase

from zmqrpc.oslo.fixture import ZmqFixture


class ComputeTests(TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(ZmqFixture(cfg.CONF))
        cfg.CONF.set_override("drain_timeout", 1, group="oslo_messaging_zmq")
        transport = oslo_messaging.get_rpc_transport(cfg.CONF)
        target = oslo_messaging.Target(topic="compute", server="node-1")
        server = oslo_messaging.get_rpc_server(transport, target, [Compute("node-1")], executor="threading")
        server.start()
        self.client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="compute"))

    def test_boot(self):
        self.assertEqual("web runs on node-1", self.client.call({}, "boot", name="web"))

    def test_delete(self):
        self.assertRaises(ValueError, self.client.call, {}, "delete", name="web")
