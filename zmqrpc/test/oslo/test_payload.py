"""How a message of oslo.messaging goes over the wire, and comes back as it would from JSON."""

from __future__ import annotations

import datetime
import sys
import threading
from decimal import Decimal
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack
from oslo_serialization import jsonutils
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.values import check_value
from zmqrpc.oslo.incoming import IncomingNotification, IncomingRequest
from zmqrpc.oslo.payload import (
    Parts,
    message_of,
    notification_of,
    parts_of,
    parts_of_notification,
    result_of,
    value_of,
)
from zmqrpc.oslo.reactor import _host
from zmqrpc.test.oslo.values import VALUES, Context

TEXT = st.text(st.characters(codec=None), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | TEXT
    | st.binary(max_size=4)
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.decimals(allow_nan=False)
    | st.just(Decimal("Infinity"))
    | st.builds(object)
)
KEYS = TEXT | st.integers() | st.sampled_from(["oslo.json", "method", "args", ""]) | st.none() | st.floats()
CARRIED = st.recursive(
    SCALARS,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(KEYS, inside, max_size=4)
        | st.tuples(inside, inside)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)
NAMED = st.dictionaries(TEXT | st.sampled_from(["oslo.json", "value"]), CARRIED, max_size=4)
NAME = st.none() | TEXT | CARRIED
MESSAGES = st.fixed_dictionaries(
    {"method": TEXT, "args": NAMED}, optional={"namespace": NAME, "version": NAME, "more": CARRIED}
) | st.dictionaries(TEXT, CARRIED, max_size=3)
NOTICES = st.fixed_dictionaries(
    {
        "publisher_id": TEXT,
        "event_type": TEXT,
        "payload": CARRIED,
        "message_id": TEXT,
        "timestamp": TEXT,
        "priority": st.sampled_from(["INFO", "ERROR", "info", "SAMPLE", "WARN", "nothing"]) | TEXT,
    },
    optional={"more": CARRIED},
)


def over_the_wire(parts: Parts) -> Parts:
    """Return what a server is given of what a client sends."""
    for name, value in parts._asdict().items():
        check_value(value, name)
    return msgpack.decode(msgpack.encode(parts), type=Parts)


def text(value: Any) -> str:
    # NaN is not even itself.
    return str(jsonutils.dumps(value, sort_keys=True))


class PayloadTests(SynchronousTestCase):
    def assert_arrives(self, take_apart, put_together, message: Any, context: Any) -> None:
        try:
            expected = [jsonutils.loads(jsonutils.dumps(each)) for each in (message, context)]
        except Exception as error:
            self.assertRaises(type(error), take_apart, context, message)
            return
        before = repr((message, context))
        parts = over_the_wire(take_apart(context, message))
        self.assertEqual(text(list(put_together(parts))), text(expected))
        self.assertEqual(repr((message, context)), before)

    @given(MESSAGES, NAMED)
    def test_messages(self, message, context):
        """Whatever JSON carries arrives as it would from JSON; what it refuses is refused as it does."""
        self.assert_arrives(parts_of, message_of, message, context)

    @given(NOTICES, NAMED)
    def test_notifications(self, message, context):
        """So it is with notifications, also those of other senders."""
        self.assert_arrives(parts_of_notification, notification_of, message, context)

    @given(CARRIED)
    def test_results(self, result):
        """So it is with what methods return."""
        try:
            expected = text(jsonutils.loads(jsonutils.dumps(result)))
        except Exception as error:
            self.assertRaises(type(error), result_of, result)
            return
        brought = result_of(result)
        check_value(brought, "result")
        self.assertEqual(text(value_of(msgpack.decode(msgpack.encode(brought)))), expected)

    def test_each(self):
        """Values that services send, in every place."""
        for value in VALUES.values():
            for message in (
                {"method": "method", "args": {"value": value}},
                {"method": "method", "args": {}, "namespace": value},
                {"method": value, "args": {}},
                {"method": "method", "args": value},
                value,
            ):
                self.assert_arrives(parts_of, message_of, message, {})
            self.assert_arrives(parts_of, message_of, {"method": "method", "args": {}}, {"value": value})

    def test_contexts(self):
        """A context may be an object that says what it holds; it must be a dict or such an object."""
        parts = parts_of(Context({"user": "ada"}), {"method": "method", "args": {}})
        self.assertEqual(message_of(over_the_wire(parts)), ({"method": "method", "args": {}}, {"user": "ada"}))

    def test_bad_text(self):
        """Text that is no message is refused with a `ValueError`, whoever sends it."""
        for bad in ("no json", "[]", "[{}]", "[{}, 1]", "[{}, {}, {}]", 5, None, {"a": 1}, "[" * 10_000, "\ud800"):
            parts = Parts("method", None, None, {"oslo.json": bad}, None)
            self.assertRaises(ValueError, message_of, parts)
            if bad != {"a": 1}:
                notice = Parts("info", None, None, {"payload": {"oslo.json": bad}}, None)
                self.assertRaises(ValueError, notification_of, notice)
        for bad in ("no json", "[" * 10_000, 5):
            self.assertRaises(ValueError, value_of, {"oslo.json": bad})


class LateReactor:
    """Does what threads ask for when the test says so."""

    running = True

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def callFromThread(self, act: Any, *arguments: Any) -> None:
        self.asked.append(partial(act, *arguments))

    def do(self) -> None:
        for asked in self.asked:
            asked()
        self.asked.clear()


class IncomingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = LateReactor()
        self.patch(_host, "reactor", self.reactor)

    def test_heartbeat(self):
        """A call has a heartbeat until it is answered: then it raises, which ends the dispatcher's thread for it."""
        incoming = IncomingRequest({}, {}, "id", self.reactor, True)
        self.assertIsNone(incoming.client_timeout)
        incoming.acknowledge()
        incoming.heartbeat()
        thread = threading.Thread(target=incoming.reply, args=("answer",))
        thread.start()
        thread.join()
        self.assertRaises(RuntimeError, incoming.heartbeat)
        self.reactor.do()
        self.assertEqual(self.successResultOf(incoming.outcome), "answer")

    def test_answered_once(self):
        """Only the first answer counts, and none of a call that was cancelled."""
        incoming, cancelled = (IncomingRequest({}, {}, "id", self.reactor, True) for _ in range(2))
        cancelled.outcome.cancel()
        for each in (incoming, cancelled):
            each.reply("answer")
            each.reply("another")
            try:
                raise ValueError("late")
            except ValueError:
                each.reply(failure=sys.exc_info())
        self.reactor.do()
        self.assertEqual(self.successResultOf(incoming.outcome), "answer")
        self.assertEqual(self.successResultOf(cancelled.outcome).type_name, "Cancelled")

    def test_forgotten(self):
        """What is dropped without an answer is answered so, and a notification is given back."""
        incoming: Any = IncomingRequest({}, {}, "id", self.reactor, True)
        outcome = incoming.outcome
        del incoming
        self.reactor.do()
        self.assertIn("ended its thread", self.successResultOf(outcome).text)
        incoming = IncomingNotification({}, {}, "id", self.reactor)
        outcome = incoming.outcome
        del incoming
        self.reactor.do()
        self.assertEqual(self.successResultOf(outcome).name, "REQUEUE")

    def test_in_a_fork(self):
        """What a fork drops of what its parent was asked leaves the parent's reactor alone."""
        dropped: Any = IncomingRequest({}, {}, "id", self.reactor, True)
        self.patch(_host, "reactor", None)
        del dropped
        self.assertEqual(self.reactor.asked, [])

    def test_after_the_end(self):
        """What is answered when the application has ended its reactor goes nowhere."""
        made: list[Any] = [
            IncomingRequest({}, {}, "id", self.reactor, True),
            IncomingNotification({}, {}, "id", self.reactor),
        ]
        self.reactor.running = False
        made[0].reply("answer")
        made[1].acknowledge()
        self.assertEqual(self.reactor.asked, [])
