"""
What oslo.messaging's functional suite asks of RabbitMQ only, since it looks at the name of the driver, and how it runs.

To be imported in a process of `zmqrpc.test.oslo.suite_child` only: oslo.messaging's package of tests patches the
standard library.
"""

from __future__ import annotations

import os
import threading
import time
import uuid

import eventlet
import oslo_messaging
from oslo_messaging.tests.functional import utils

EXECUTOR = "ZMQRPC_SUITE_EXECUTOR"
"""The variable that says how servers run."""

MAKE_CLIENT = getattr(oslo_messaging, "get_rpc_client", oslo_messaging.RPCClient)
"""Older ones have the class alone."""

LONG = 4.0
"""Seconds that a method takes: more than may pass without a sign of life, which is `SIGN`."""
SIGN = 2
PATIENT = 3600
SOON = 10.0
"""Seconds within which what need not wait is done, on a machine that is busy."""


class Slow:
    """An endpoint whose method takes its time."""

    def __init__(self) -> None:
        self.began = threading.Event()

    def take(self, ctxt, seconds):
        self.began.set()
        time.sleep(seconds)
        return seconds

    def say(self, ctxt, word):
        return word


class GuardedTests(utils.SkipIfNoTransportURL):  # type: ignore[misc]
    """The last two stand for those that upstream skips unless the URL begins with ``rabbit://``."""

    def setUp(self):
        super().setUp()
        self.target = oslo_messaging.Target(topic=f"topic-{uuid.uuid4()}", server=f"server-{uuid.uuid4()}")
        self.endpoint = Slow()

    def serve(self):
        self.served = self.useFixture(
            utils.RpcServerFixture(self.conf, self.rpc_url, self.target, endpoint=self.endpoint)
        )

    def client(self, **options):
        transport = self.useFixture(utils.RPCTransportFixture(self.conf, self.rpc_url)).transport
        return MAKE_CLIENT(transport, self.target, **options)

    def test_executor(self):
        """Servers run as this cell says; the suite would have eventlet in each."""
        self.serve()
        executor = os.environ[EXECUTOR]
        self.assertEqual(executor, self.served.server.executor_type)
        self.assertEqual(executor == "eventlet", eventlet.patcher.is_monkey_patched("thread"))

    def test_watched_call(self):
        """Signs of life keep a call going, for as long as its own timeout: `CallTestCase.test_monitor_long_call`."""
        self.serve()
        began = time.monotonic()
        self.assertRaises(oslo_messaging.MessagingTimeout, self.client(timeout=1).call, {}, "take", seconds=LONG)
        self.assertLess(time.monotonic() - began, LONG)
        self.assertTrue(self.endpoint.began.is_set())

        watched = self.client(timeout=PATIENT, call_monitor_timeout=SIGN)
        self.assertEqual(LONG, watched.call({}, "take", seconds=LONG))
        # It is no more patient than its caller.
        impatient = self.client(timeout=1, call_monitor_timeout=SIGN)
        began = time.monotonic()
        self.assertRaises(oslo_messaging.MessagingTimeout, impatient.call, {}, "take", seconds=LONG)
        self.assertLess(time.monotonic() - began, LONG)

    def test_undeliverable(self):
        """What has to arrive, and cannot, is refused at once: `CallTestCase.test_mandatory_call`."""
        client = self.client(timeout=PATIENT, transport_options=oslo_messaging.TransportOptions(at_least_once=True))
        for send in (client.call, client.cast):
            began = time.monotonic()
            error = self.assertRaises(oslo_messaging.MessageUndeliverable, send, {}, "say", word="here")
            self.assertLess(time.monotonic() - began, SOON)
            self.assertEqual("openstack", error.exchange)
            self.assertIn(self.target.topic, error.routing_key)
            self.assertEqual({"word": "here"}, error.message["args"])
        self.serve()
        self.assertEqual("here", client.call({}, "say", word="here"))
        client.cast({}, "take", seconds=0)
        self.assertTrue(self.endpoint.began.wait(SOON))
