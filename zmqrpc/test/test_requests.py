"""What waits to run on a node, and how much of it."""

from __future__ import annotations

import gc
from collections import deque
from functools import partialmethod
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.caller import Caller
from zmqrpc.callers import Callers
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import (
    Ack,
    Call,
    Cancel,
    Cast,
    FailureCode,
    Hello,
    Nack,
    Notify,
    Refusal,
    Reply,
    encode_message,
)
from zmqrpc.core.notification import REQUEUE, arguments_of
from zmqrpc.interfaces import SENT
from zmqrpc.listener import Listener
from zmqrpc.notices import Notices
from zmqrpc.requests import _WHY_NOT_KEPT
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.threads import Threads

OURS, CLIENT = bytes(16), b"c" * 16
SIZE = 20_000


class Endpoint:
    def __init__(self):
        self.ran: list[Any] = []
        self.held: list[Deferred[Any]] = []

    @expose
    def mark(self, context, number, value):
        self.ran.append(number)

    @expose
    def hold(self, context, number, value):
        self.ran.append(number)
        self.held.append(Deferred())
        return self.held[-1]


class Server(SynchronousTestCase):
    """One server and one client, without sockets."""

    most_bytes = 10**9

    def setUp(self):
        self.heard: list[Any] = []
        settings = self.settings()
        notices = Notices(lambda: 1.0)
        self.callers = Callers(OURS, settings, notices, lambda: 1.0, lambda: None, lambda when: None)
        self.callers.opened(cast(Any, self))
        self.endpoint = Endpoint()
        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [self.endpoint], Threads(None, 1)))
        self.say(Hello(1, 1, "client", [], {}, []))
        self.callers.end_pass()

    def settings(self):
        return Settings(max_running_bytes=self.most_bytes)

    def send(self, identity, payload):
        """Hear what is written, in place of a router."""
        self.heard += decode_batch(payload).messages
        return SENT

    def say(self, *messages):
        encoded = [encode_message(message) for message in messages]
        self.callers.payload_received(b"1", encode_batch(CLIENT, OURS, 1000, (), encoded))

    def request(self, number, method="mark", kind=Call, size=SIZE, topic="work"):
        arguments = {"number": number, "value": bytes(size)}
        return kind(number, 1, 1, 60_000, "x", topic, None, None, None, method, arguments)


class FaultTests(Server):
    """A fault of ours, in what runs a request."""

    def test_the_rest_runs(self):
        """It is logged, and answered as what a method raises; what comes after it in the pass is none the worse."""
        run = RPCServer.run

        def fail_once(server: RPCServer, request: Any) -> Any:
            if request.sequence == 1:
                raise AttributeError("of ours")
            return run(server, request)

        self.patch(RPCServer, "run", fail_once)
        self.say(self.request(1), self.request(2))
        self.callers.end_pass()
        first, second = self.heard[-2:]
        self.assertEqual((first.failure.code, first.failure.type_name), (FailureCode.RAISED, "AttributeError"))
        self.assertIsNone(second.failure)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class DrainTests(Server):
    def test_given_up(self):
        """What still runs when the time to drain is up is in the log, by its methods; who waits is told."""
        lines = LogLines(self, "zmqrpc.running.Running")
        self.say(*(self.request(number, "hold") for number in range(1, 4)), self.request(4))
        self.callers.end_pass()
        self.callers.requests.cancel_running()
        self.assertEqual(
            list(lines), ["the time to drain is up (drain_timeout), and what still runs is given up: 3 of hold"]
        )
        self.callers.requests.cancel_running()
        self.assertEqual(len(lines), 1)
        self.callers.end_pass()
        codes = [reply.failure and reply.failure.code for reply in self.heard if type(reply) is Reply]
        self.assertCountEqual(codes, [None, *[FailureCode.FORGOTTEN] * 3])


class ReplyMemoryTests(Server):
    """What is answered to who asks again for an answer that was dropped for its bytes."""

    def settings(self):
        return Settings(max_reply_memory=1024)

    def ask(self, number, **options):
        """Return what is answered."""
        self.heard.clear()
        self.say(self.request(number, size=1, **options))
        self.callers.end_pass()
        return self.heard[-1] if self.heard else None

    def test_not_kept(self):
        """What ran says so, and so that an older client understands it; of what did not, nobody says that it did."""
        self.assertIsInstance(self.ask(1, kind=Cast, topic="nowhere"), Nack)
        self.ask(2, method="missing")
        self.ask(3, method="hold")
        self.endpoint.held.pop().callback(bytes(2000))
        answers = [self.ask(number).failure for number in (1, 2, 3)]
        codes = [FailureCode.FORGOTTEN, FailureCode.FORGOTTEN, FailureCode.NOT_KEPT]
        self.assertEqual([each.code for each in answers], codes)
        self.assertEqual(
            [(each.type_name, each.text) for each in answers],
            [("ServerLost", f"it was answered, and the answer is not kept any more ({_WHY_NOT_KEPT})")] * 2
            + [("ServerLost", f"the method ran; its reply is not kept any more ({_WHY_NOT_KEPT})")],
        )
        self.assertEqual(self.endpoint.ran, [3])


class Ear:
    def __init__(self):
        self.heard: list[Any] = []
        self.answers: list[Any] = []
        self.held: list[Deferred[Any]] = []

    def info(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append(payload)
        return self.answers.pop() if self.answers else None

    def warn(self, context, publisher_id, event_type, payload, metadata):
        self.held.append(Deferred())
        return self.held[-1]

    def _fail(self, *arguments):
        raise ValueError(arguments)

    error = partialmethod(_fail, "error")

    def secret(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append("secret")


class NotificationTests(Server):
    """What becomes of a NOTIFY at a node that serves the same topic."""

    def settings(self):
        return Settings(max_reply_memory=1024)

    def setUp(self):
        super().setUp()
        self.ear = Ear()
        targets = [Target("work", server="a", exchange="x"), Target("more", server="a", exchange="x")]
        notices = self.callers.notices
        listener = Listener(
            *(targets, [self.ear], "p", None, None, Threads(None, 1), notices, lambda: 1.0, lambda when: None)
        )
        self.callers.listen(listener)
        self.callers.end_pass()
        self.heard.clear()

    def notify(self, number, method="info", topic="work", pool="p", arguments=None, remaining=60_000):
        said = arguments_of("publisher", "e", number, "id", "time") if arguments is None else arguments
        self.say(Notify(number, 1, 3, remaining, "x", topic, pool, None, None, method, said))
        self.callers.end_pass()
        heard, self.heard = self.heard, []
        return heard

    def test_who_is_connected_is_told(self):
        more = Target("z", server="a", exchange="x")
        rest = Threads(None, 1), self.callers.notices, lambda: 1.0, lambda when: None
        self.callers.listen(Listener([more], [self.ear], None, None, None, *rest))
        self.callers.end_pass()
        (welcome,) = self.heard
        served = [(target.topic, target.member, target.pool) for target in welcome.targets]
        self.assertEqual(served, [("work", "a", None), ("work", "a", "p"), ("more", "a", "p"), ("z", "a", None)])

    def test_acknowledged(self):
        self.assertEqual(self.notify(1), [Ack([1, 1])])
        self.assertEqual(self.notify(2, topic="more"), [Ack([2, 2])])
        self.assertEqual(self.ear.heard, [1, 2])

    def test_what_ran_is_acknowledged_though_that_was_dropped(self):
        self.assertEqual(self.notify(1), [Ack([1, 1])])
        self.say(self.request(2, method="hold", size=1))
        self.callers.end_pass()
        self.endpoint.held.pop().callback(bytes(2000))
        self.callers.end_pass()
        self.heard.clear()
        self.assertEqual(self.notify(1), [Ack([1, 1])])
        self.assertEqual(self.ear.heard, [1])

    def test_a_repetition_does_not_run(self):
        self.ear.answers = [REQUEUE]
        given_back = [Nack(Refusal.REQUEUED, [1, 1], "its endpoint gave it back")]
        self.assertEqual([self.notify(1), self.notify(1)], [given_back] * 2)
        self.assertEqual([self.notify(2), self.notify(2)], [[Ack([2, 2])]] * 2)
        self.assertEqual([self.notify(3, "warn"), self.notify(3, "warn")], [[], []])
        self.assertEqual((self.ear.heard, len(self.ear.held)), ([1, 2], 1))
        self.ear.held[0].callback(None)
        self.callers.end_pass()
        self.assertEqual(self.heard, [Ack([3, 3])])
        self.heard.clear()
        self.assertEqual(self.notify(3, "warn"), [Ack([3, 3])])

    def test_cancel(self):
        """What runs goes on; what waits does not begin."""
        self.notify(1, "warn")
        said = arguments_of("publisher", "e", 2, "id", "time")
        self.say(Notify(2, 1, 3, 60_000, "x", "work", "p", None, None, "info", said), Cancel([1, 2]))
        self.callers.end_pass()
        self.ear.held[0].callback(None)
        self.callers.end_pass()
        self.assertEqual((self.heard, self.ear.heard), ([Ack([1, 1])], []))

    # what is sent, how it is refused, and in which words
    ROWS: list[tuple[dict[str, Any], Refusal, str]] = [
        ({"pool": None}, Refusal.NOT_SERVED, "x/work, the pool without a name, is not served here"),
        ({"pool": "q"}, Refusal.NOT_SERVED, "x/work, pool q is not served here"),
        ({"pool": "a"}, Refusal.NOT_SERVED, "pool a"),
        ({"topic": "other"}, Refusal.NOT_SERVED, "x/other"),
        ({"method": "secret"}, Refusal.UNREADABLE, "there is no priority 'secret'"),
        ({"method": "__init__"}, Refusal.UNREADABLE, "there is no priority"),
        ({"arguments": {}}, Refusal.UNREADABLE, "the argument 'publisher_id' is missing"),
        ({"arguments": b"", "method": "info"}, Refusal.UNREADABLE, "the content type"),
        ({"remaining": 0}, Refusal.EXPIRED, "under way"),
    ]

    def test_refused(self):
        for number, (changes, reason, says) in enumerate(self.ROWS, 1):
            (nack,) = self.notify(number, **changes)
            self.assertEqual((nack.reason, nack.ranges), (reason, [number, number]), changes)
            self.assertIn(says, nack.text)
        self.callers.drain("stopping")
        self.assertEqual([m.reason for m in self.notify(99) if type(m) is Nack], [Refusal.DRAINING])
        self.assertEqual((self.ear.heard, self.endpoint.ran), ([], []))

    def test_an_endpoint_without_a_name_raises(self):
        """It is named as well as can be, and the notification is done with."""
        self.assertEqual(self.notify(1, "error"), [Ack([1, 1])])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.notify(2), [Ack([2, 2])])

    def test_calls_do_not_reach_it(self):
        for number, (topic, member) in enumerate((("more", None), ("more", "a"), ("more", "p"), ("work", "p")), 1):
            self.say(Call(number, 1, 1, 60_000, "x", topic, member, None, None, "info", {}))
        self.callers.end_pass()
        self.assertEqual([message.reason for message in self.heard if type(message) is Nack], [Refusal.NOT_SERVED] * 4)
        self.assertEqual(self.ear.heard, [])


class WaitingBytesTests(Server):
    """A pass that goes on reading while methods of another one take long is what fills the memory."""

    most_bytes = 3 * SIZE + 3_000

    def refused(self):
        """End the pass; list what was refused as overloaded, and what was answered."""
        self.heard.clear()
        self.callers.end_pass()
        nacks = [message for message in self.heard if type(message) is Nack]
        self.assertEqual({nack.reason for nack in nacks}, {Refusal.OVERLOADED} if nacks else set())
        replies = [message.sequence for message in self.heard if type(message) is Reply]
        return [nack.ranges[0] for nack in nacks], replies

    def test_what_is_over_the_bound_is_refused(self):
        for number in range(1, 6):
            self.say(self.request(number))
        self.assertEqual(self.refused(), ([4, 5], [1, 2, 3]))
        self.assertIn("bytes of requests wait or run (max_running_bytes)", self.heard[0].text)
        self.assertEqual(self.endpoint.ran, [1, 2, 3])
        # When it has run there is room again, and what was refused stays so.
        self.say(self.request(6), self.request(7))
        self.say(self.request(4))
        self.assertEqual(self.refused(), ([4], [6, 7]))
        self.assertEqual(self.endpoint.ran, [1, 2, 3, 6, 7])

    def test_a_batch_counts_until_its_last_request_has_run(self):
        self.say(*[self.request(number, size=SIZE // 10) for number in range(1, 11)])
        for number in range(11, 15):
            self.say(self.request(number, kind=Cast))
        self.assertEqual(self.refused()[0], [13, 14])

    def test_what_is_cancelled_makes_room(self):
        for number in range(1, 4):
            self.say(self.request(number))
        self.say(Cancel([2, 2]))
        for number in range(4, 6):
            self.say(self.request(number))
        self.assertEqual(self.refused(), ([5], [1, 3, 4]))

    def test_what_goes_on_running_takes_room_until_it_ends(self):
        self.say(self.request(1, "hold"))
        self.say(self.request(2, "hold"), self.request(3, "hold", size=10))
        self.assertEqual(self.refused(), ([], []))
        for number in range(4, 7):
            self.say(self.request(number))
        self.assertEqual(self.refused(), ([5, 6], [4]))
        for held in self.endpoint.held:
            held.callback(None)
        self.assertEqual(self.refused(), ([], [1, 2, 3]))
        for number in range(7, 11):
            self.say(self.request(number))
        self.assertEqual(self.refused(), ([10], [7, 8, 9]))

    def test_what_runs_and_is_cancelled_makes_room(self):
        for number in range(1, 4):
            self.say(self.request(number, "hold"))
        self.assertEqual(self.refused(), ([], []))
        self.say(Cancel([1, 3]))
        self.say(self.request(4))
        self.assertEqual(self.refused(), ([], [1, 2, 3, 4]))

    def test_the_only_batch_may_be_over_the_bound(self):
        self.say(self.request(1, size=10 * SIZE))
        self.say(self.request(2, size=10))
        self.assertEqual(self.refused(), ([2], [1]))
        self.say(self.request(3, size=10 * SIZE))
        self.assertEqual(self.refused(), ([], [3]))


class WhenNoneWaitsTests(Server):
    """Who waits until nothing waits to run is told, and need not ask again and again."""

    def when_none_waits(self):
        return self.callers.requests.when_none_waits()

    def test_at_once(self):
        self.assertTrue(self.when_none_waits().called)

    def test_when_the_last_has_begun(self):
        self.say(self.request(1), self.request(2, "hold"))
        fired = self.when_none_waits()
        self.assertFalse(fired.called)
        self.callers.end_pass()
        self.assertTrue(fired.called)
        self.assertEqual(self.callers.requests.running, 1)

    def test_when_the_last_is_cancelled(self):
        self.say(self.request(1), self.request(2))
        fired = self.when_none_waits()
        self.say(Cancel([1, 1]))
        self.assertFalse(fired.called)
        self.say(Cancel([2, 2]))
        self.assertTrue(fired.called)

    def test_cancelled(self):
        """Who has waited for long enough cancels it."""
        self.say(self.request(1))
        fired = self.when_none_waits()
        fired.cancel()
        self.assertIsNone(self.successResultOf(fired))
        self.callers.end_pass()
        self.assertEqual(self.endpoint.ran, [1])


class Walked(deque[Any]):
    """Counts how often all of it is looked at."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()


class Running(dict[int, Any]):
    """Counts how often all of it, or a part, is looked at."""

    walks = looks = 0

    def items(self):
        self.walks += 1
        return super().items()

    def __contains__(self, sequence):
        self.looks += 1
        return super().__contains__(sequence)


class CancelTests(Server):
    """A CANCEL takes nine bytes, and many of them one batch."""

    def waiting(self, number):
        """Have calls wait, in a queue that counts."""
        self.say(*[self.request(each, size=0) for each in range(1, number + 1)])
        requests = self.callers._requests
        requests.waiting = Walked(requests.waiting)
        return requests.waiting

    def running(self, number):
        """Have calls run, in a table that counts."""
        self.say(*[self.request(each, "hold", size=0) for each in range(1, number + 1)])
        while self.callers._requests.waiting:
            self.callers.end_pass()
        (caller,) = self.callers._callers.values()
        caller.running = Running(caller.running)
        return caller.running

    def test_what_waits_is_looked_at_once_for_a_batch(self):
        work = self.waiting(100)
        self.say(*[Cancel([each, each]) for each in range(100, 1, -1)])
        self.assertEqual(work.walks, 1)
        self.callers.end_pass()
        self.assertEqual(self.endpoint.ran, [1])

    def test_all_of_an_honest_batch_counts(self):
        """A client that gives up a lot at once names each by itself."""
        self.waiting(3000)
        self.say(*[Cancel([each, each]) for each in range(1, 3000)])
        self.callers.end_pass()
        self.assertEqual(self.endpoint.ran, [3000])

    def test_what_runs_is_looked_at_once_for_a_batch(self):
        running = self.running(20)
        self.say(*[Cancel([each, 10_000 + each]) for each in range(5, 1000)])
        self.assertEqual(running.walks, 1)
        self.assertEqual(sorted(running), [1, 2, 3, 4])

    def test_what_runs_is_looked_up_when_few_are_named(self):
        running = self.running(20)
        self.say(Cancel([3, 4, 30, 31]), Cancel([3, 4]), Cancel([4, 5, 7]))
        self.assertEqual((running.walks, running.looks), (0, 5))
        self.assertEqual([each for each in range(1, 21) if each not in list(running)], [3, 4, 5])

    def test_what_waits_is_not_looked_at_for_what_runs(self):
        self.running(2)
        self.say(self.request(3, size=0))
        work = self.callers._requests.waiting = Walked(self.callers._requests.waiting)
        self.say(Cancel([1, 2]))
        self.assertEqual((work.walks, len(work)), (0, 1))

    def test_too_many_ranges_are_not_all_taken(self):
        self.waiting(2)
        self.say(Cancel([1, 1, *[5, 5] * 100_000, 2, 2]))
        self.callers.end_pass()
        self.assertEqual(self.endpoint.ran, [2])


class SeveralClientsTests(Server):
    """What each of several clients has of a server that cannot do all they ask for."""

    most_running = 12

    def setUp(self):
        self.heard_by: dict[bytes, list[Any]] = {}
        super().setUp()
        for client in b"abc":
            self.say_as(client, Hello(1, 1, "client", [], {}, []))
        self.end()

    def settings(self):
        return Settings(max_running_calls=self.most_running)

    def send(self, identity, payload):
        self.heard_by.setdefault(identity, []).extend(decode_batch(payload).messages)
        return SENT

    def say_as(self, client, *messages):
        encoded = [encode_message(message) for message in messages]
        self.callers.payload_received(bytes([client]), encode_batch(bytes([client]) * 16, OURS, 1000, (), encoded))

    def ask(self, client, first, number, method="hold"):
        self.say_as(client, *(self.request(each, method, size=1) for each in range(first, first + number)))

    def end(self):
        """End the pass; return how many of each client were refused in it, and run the endpoint."""
        self.callers.end_pass()
        heard, self.heard_by = self.heard_by, {}
        return {
            identity.decode(): sum(isinstance(message, Nack) for message in messages)
            for identity, messages in heard.items()
            if any(isinstance(message, Nack) for message in messages)
        }

    def left_bytes(self):
        """Return how many bytes count as waiting or running, as of now."""
        load = self.callers._requests._load
        load.admits(0, 0)
        return load.bytes

    def held_by(self):
        return {
            caller.instance[:1].decode(): len(caller.running)
            for caller in self.callers._callers.values()
            if caller.running
        }

    def test_alone_one_may_have_all(self):
        self.ask(b"a"[0], 1, 20)
        self.assertEqual(self.end(), {"a": 8})
        self.assertEqual(self.held_by(), {"a": 12})

    def test_one_that_came_first_does_not_keep_the_others_out(self):
        """What he has ends in time, and as long as others ask he gets nothing in its place above his part."""
        self.ask(b"a"[0], 1, 20)
        self.ask(b"b"[0], 1, 2)
        self.assertEqual(self.end(), {"a": 8, "b": 2})
        for held in self.endpoint.held[:3]:
            held.callback(None)
        self.ask(b"a"[0], 21, 20)
        self.ask(b"b"[0], 3, 2)
        self.assertEqual(self.end(), {"a": 20})
        self.assertEqual(self.held_by(), {"a": 9, "b": 2})

    def test_who_asked_and_is_forgotten_leaves_nothing(self):
        """What was kept for him may be large; a crowd of long ago is no reason to keep it."""
        self.ask(b"a"[0], 1, 20)
        self.ask(b"b"[0], 1, 1)
        self.end()
        self.callers._forget(self.callers._callers[b"b" * 16])
        gc.collect()
        self.assertFalse([each for each in gc.get_objects() if type(each) is Caller and each.instance == b"b" * 16])

    def test_what_waits_is_looked_at_once_for_all_who_are_gone(self):
        for client in b"abc":
            self.ask(client, 1, 4)
        requests = self.callers._requests
        waited = len(requests.waiting)
        requests.waiting = work = Walked(requests.waiting)
        ended = requests.abandon(set(self.callers._callers.values()))
        self.assertEqual((waited, ended.total(), len(work)), (12, 12, 0))
        # Who waits, and what of it.
        self.assertEqual(work.walks, 2)

    def test_each_has_its_part(self):
        for client in b"abc":
            self.ask(client, 1, 20)
        self.end()
        for held in self.endpoint.held:
            held.callback(None)
        for client in b"abc":
            self.ask(client, 21, 20)
        self.assertEqual(self.end(), {"a": 16, "b": 16, "c": 16})
        self.assertEqual(self.held_by(), {"a": 4, "b": 4, "c": 4})

    def test_who_has_nothing_waiting_is_served_first(self):
        self.ask(b"a"[0], 1, 20, "mark")
        self.end()
        self.endpoint.ran.clear()
        self.ask(b"a"[0], 101, 3, "mark")
        self.ask(b"b"[0], 201, 3, "mark")
        self.ask(b"c"[0], 301, 1, "mark")
        self.ask(b"b"[0], 204, 1, "mark")
        self.end()
        self.assertEqual(self.endpoint.ran, [101, 102, 103, 201, 202, 203, 301, 204])
        self.assertEqual(self.left_bytes(), 0)
        # One for four that ran while others waited.
        self.callers._requests._crowd.left(8, 0.0, 0.0)
        self.endpoint.ran.clear()
        self.ask(b"a"[0], 111, 2, "mark")
        self.ask(b"b"[0], 211, 2, "mark")
        self.ask(b"c"[0], 311, 1, "mark")
        self.end()
        self.assertEqual(self.endpoint.ran, [211, 111, 112, 212, 311])
        self.assertEqual(self.left_bytes(), 0)
