"""The fixture for the tests of services."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import oslo_messaging
from oslo_config import cfg
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.option import ZMQ
from zmqrpc.oslo.driver import ZmqDriver
from zmqrpc.oslo.fixture import ZmqFixture

TARGET = oslo_messaging.Target(topic="compute", server="node-1")


class Compute:
    def boot(self, context: Any, name: str) -> str:
        return f"{name} runs"


def serve(transport: Any, *endpoints: Any) -> Any:
    server = oslo_messaging.get_rpc_server(transport, TARGET, endpoints or [Compute()], executor="threading")
    server.start()
    return server


def client_of(transport: Any) -> Any:
    return oslo_messaging.get_rpc_client(transport, TARGET, timeout=5)


class FixtureTests(SynchronousTestCase):
    def use(self, conf: Any, *arguments: str) -> ZmqFixture:
        fixture = ZmqFixture(conf, *arguments)
        fixture.setUp()
        self.addCleanup(fixture.cleanUp)
        return fixture

    def settings(self, conf: Any) -> Any:
        transport = oslo_messaging.get_rpc_transport(conf)
        self.assertIsInstance(transport._driver, ZmqDriver)
        return transport._driver._read()

    def test_before_a_transport(self) -> None:
        """Options can be overridden as soon as it is there, on a configuration that was never called."""
        conf = cfg.ConfigOpts()
        self.use(conf)
        conf.set_override("drain_timeout", 1, group=ZMQ)
        conf.set_override("rpc_zmq_host", "localhost", group=ZMQ)
        settings = self.settings(conf)
        self.assertEqual((settings.drain_timeout, settings.rpc_zmq_host), (1, "localhost"))
        self.assertEqual(settings.matchmaker, "dummy")

    def test_url(self) -> None:
        conf = cfg.ConfigOpts()
        fixture = self.use(conf, f"zmq+sqlite://{Path(self.mktemp()).absolute()}?drain_timeout=2")
        self.assertEqual(self.settings(conf).matchmaker, "sqlite")
        fixture.transport_url = "zmq+dummy://"
        fixture.response_timeout = 3
        self.assertEqual(self.settings(conf).matchmaker, "dummy")
        self.assertEqual(self.settings(conf).rpc_response_timeout, 3)

    def test_calls(self) -> None:
        """A test has a server and a client, and at its end stops what it will."""
        self.use(cfg.CONF)
        transport = oslo_messaging.get_rpc_transport(cfg.CONF)
        server = serve(transport)
        self.assertEqual(client_of(transport).call({}, "boot", name="web"), "web runs")
        server.stop()
        server.wait()
        transport.cleanup()

    def test_closes(self) -> None:
        """What a test has left open is closed, so that the next one finds nobody, and calls whom it has started."""
        fixture = ZmqFixture(cfg.CONF)
        fixture.setUp()
        transport = oslo_messaging.get_rpc_transport(cfg.CONF)
        server = serve(transport)
        client_of(transport).call({}, "boot", name="web")
        fixture.cleanUp()
        self.assertFalse(transport._driver._calling.is_open)
        server.stop()
        server.wait()

        self.use(cfg.CONF)
        other = oslo_messaging.get_rpc_transport(cfg.CONF)
        at_once = oslo_messaging.TransportOptions(at_least_once=True)
        client = oslo_messaging.get_rpc_client(other, TARGET, transport_options=at_once)
        self.assertRaises(oslo_messaging.MessageUndeliverable, client.call, {}, "boot", name="web")

    def test_closes_with_what_runs(self) -> None:
        """A method that still runs has the drain timeout, and no longer."""
        fixture = ZmqFixture(cfg.CONF)
        fixture.setUp()
        cfg.CONF.set_override("drain_timeout", 0.1, group=ZMQ)
        runs, ends = threading.Event(), threading.Event()
        self.addCleanup(ends.set)

        class Slow:
            def boot(self, context: Any, name: str) -> None:
                runs.set()
                ends.wait(30)

        transport = oslo_messaging.get_rpc_transport(cfg.CONF)
        server = serve(transport, Slow())
        client_of(transport).cast({}, "boot", name="web")
        self.assertTrue(runs.wait(30))
        fixture.cleanUp()
        self.assertFalse(ends.is_set())
        ends.set()
        server.stop()
        server.wait()

    def test_others_stay(self) -> None:
        """What was made with another configuration goes on."""
        kept = self.use(cfg.CONF)
        transport = oslo_messaging.get_rpc_transport(cfg.CONF)
        serve(transport)
        client = client_of(transport)
        client.call({}, "boot", name="web")
        other = ZmqFixture(cfg.ConfigOpts())
        other.setUp()
        oslo_messaging.get_rpc_transport(other.conf)
        other.cleanUp()
        self.assertEqual(client.call({}, "boot", name="web"), "web runs")
        self.assertEqual(kept.transport_url, "zmq://")

    def test_as_before(self) -> None:
        """What was overridden is as it was, and the same fixture can be used again."""
        conf = cfg.ConfigOpts()
        fixture = ZmqFixture(conf)
        for _ in range(2):
            fixture.setUp()
            self.assertEqual(conf.transport_url, "zmq://")
            conf.set_override("drain_timeout", 1, group=ZMQ)
            fixture.cleanUp()
            self.assertEqual(conf.transport_url, "rabbit://")
            self.assertEqual(conf[ZMQ].drain_timeout, 30)
