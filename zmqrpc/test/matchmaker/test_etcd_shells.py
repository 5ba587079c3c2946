"""Asking etcd where members fail, on a clock of the test; and servers that are none, on real ports."""

import base64
import json
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web import http

from zmqrpc.core.spread import Crowd
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._etcd import access, stream
from zmqrpc.matchmaker._etcd.answers import Change, Entry, Look
from zmqrpc.matchmaker._etcd.asker import MOST_QUEUED, MOST_WAITING, EtcdAsker
from zmqrpc.matchmaker._etcd.errors import EtcdRefusal, Fault, NoAnswer
from zmqrpc.matchmaker._etcd.follower import MOST_STREAMS, STEADY_SECONDS, EtcdFollower
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.rotation import Rotation
from zmqrpc.matchmaker._etcd.stream import EtcdStream
from zmqrpc.matchmaker._etcd.web import error_of
from zmqrpc.matchmaker._etcd.words import EtcdWords
from zmqrpc.matchmaker.etcd import etcd_matchmaker
from zmqrpc.test.integration.support import TcpServer
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import everything
from zmqrpc.testing.matchmaker import Heard, make_record

reactor: Any = _reactor

WORDS = ("/v3/kv/txn", b"{}")


class AskerTests(SynchronousTestCase):
    """Three members, a time limit of one second."""

    def setUp(self):
        self.clock = Clock()
        self.asked: list[tuple[int, Deferred[bytes]]] = []
        self.rotation = Rotation(("M0", "M1", "M2"), Random(1))
        self.rotation.current = 0
        self.asker = EtcdAsker(self.clock, self.ask, "etcd", self.rotation, Random(1), 1.0)

    async def ask(self, member, words):
        answer: Deferred[bytes] = Deferred()
        self.asked.append((member, answer))
        return await answer

    def members(self):
        return [member for member, _ in self.asked]

    def failed(self, asked):
        return str(self.failureResultOf(asked, MatchmakerUnavailable).value)

    def test_first(self):
        asked = self.asker.ask(WORDS)
        self.asked[0][1].callback(b"yes")
        self.assertEqual(self.successResultOf(asked), b"yes")
        self.assertEqual((self.members(), self.clock.getDelayedCalls()), ([0], []))

    def test_next_after_half_the_time(self):
        """The next is asked too; who answers first is current from then on, and the other is given up."""
        asked = self.asker.ask(WORDS)
        self.clock.advance(0.49)
        self.assertEqual(self.members(), [0])
        self.clock.advance(0.02)
        self.assertEqual(self.members(), [0, 1])
        self.asked[1][1].callback(b"yes")
        self.assertEqual(self.successResultOf(asked), b"yes")
        self.assertEqual(self.rotation.current, 1)
        self.assertTrue(self.asked[0][1].called, "it was cancelled")
        self.asker.ask(WORDS).addErrback(lambda _: None)
        self.assertEqual(self.members(), [0, 1, 1])
        self.asker.close()

    def test_first_answers_late(self):
        asked = self.asker.ask(WORDS)
        self.clock.advance(0.6)
        self.asked[0][1].callback(b"late")
        self.assertEqual((self.successResultOf(asked), self.rotation.current), (b"late", 0))

    def test_next_at_once(self):
        """Who fails is not waited for."""
        asked = self.asker.ask(WORDS)
        self.asked[0][1].errback(NoAnswer("is away"))
        self.asked[1][1].errback(EtcdRefusal(14, "etcdserver: no leader", 503))
        self.assertEqual(self.members(), [0, 1, 2])
        self.asked[2][1].callback(b"yes")
        self.assertEqual((self.successResultOf(asked), self.rotation.current), (b"yes", 2))

    def test_none(self):
        """Where none answers the text has all reasons, and for a moment nobody is asked again."""
        asked = self.asker.ask(WORDS)
        for member, what in enumerate(("is away", "refuses us", "is away")):
            self.asked[member][1].errback(NoAnswer(what, "look there" if member else "start it"))
        reasons = "etcd cannot be used at M0, M2 (is away), M1 (refuses us); start it; look there"
        self.assertEqual(self.failed(asked), reasons)
        self.assertEqual(self.failed(self.asker.ask(WORDS)), reasons)
        self.assertEqual(len(self.asked), 3)
        self.clock.advance(0.1)
        self.asker.ask(WORDS).addErrback(lambda _: None)
        self.assertEqual(len(self.asked), 4)
        self.asker.close()

    def test_election(self):
        """While there is no leader all are asked again, and who asked does not hear of it."""
        for said in ("leader changed", "no leader", "request timed out", "not leader", "raft proposal dropped"):
            self.asked.clear()
            asked = self.asker.ask(WORDS)
            for number in range(6):
                self.assertNoResult(asked)
                if number in (0, 3):
                    self.asked[number][1].errback(NoAnswer("refuses the connection", "start it"))
                else:
                    self.asked[number][1].errback(EtcdRefusal(2, f"etcdserver: {said}", 500))
                if number in (2, 5):
                    self.clock.advance(0.2)
            self.assertEqual(len(set(self.members()[:3])), 3)
            self.asked[6][1].callback(b"yes")
            self.assertEqual((self.successResultOf(asked), self.clock.getDelayedCalls()), (b"yes", []))

    def test_election_without_end(self):
        """What no leader does in time is said in the words of the members, and they are not asked much more often."""
        asked = self.asker.ask(WORDS)
        answered = 0
        for _ in range(110):
            for member, answer in self.asked[answered:]:
                refusal = EtcdRefusal(14, "etcdserver: no leader", 503)
                answer.errback(NoAnswer("refuses the connection", "start it") if member == 0 else refusal)
                answered += 1
            self.clock.advance(0.01)
        self.assertEqual(
            self.failed(asked),
            "etcd cannot be used at M0 (refuses the connection), M1, M2 (has no leader: it does not reach the "
            "majority of its cluster); start it; see the other members",
        )
        self.assertLess(len(self.asked), 20)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handed_to_a_leader_that_is_gone(self):
        """What members that are there say nothing to is asked again where one is not."""
        asked = self.asker.ask(WORDS)
        self.asked[0][1].errback(NoAnswer("refuses the connection"))
        self.clock.pump([0.05] * 11)
        self.assertEqual(self.members(), [0, 1, 2])
        self.clock.pump([0.05] * 5)
        self.assertEqual(self.members(), [0, 1, 2, 1])
        self.asked[3][1].callback(b"yes")
        self.assertEqual((self.successResultOf(asked), self.rotation.current), (b"yes", 1))
        self.assertTrue(all(answer.called for _, answer in self.asked))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent(self):
        asked = self.asker.ask(WORDS)
        for _ in range(11):
            self.clock.advance(0.1)
        self.clock.advance(0)
        self.assertEqual(self.failed(asked), "etcd cannot be used at M0, M1, M2 (did not answer within 1 s)")
        self.assertEqual((self.rotation.current, self.clock.getDelayedCalls()), (0, []))

    def test_answer_that_waited(self):
        """What arrived while the process was kept from running counts."""
        asked = self.asker.ask(WORDS)
        self.clock.callLater(1.0, self.asked[0][1].callback, b"yes")
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(asked), b"yes")

    def test_answer_in_pieces(self):
        """So does what takes several turns of a process that is slow at them."""
        asked = self.asker.ask(WORDS)

        def turn(left):
            self.clock.rightNow += 0.05
            self.clock.callLater(0, turn, left - 1) if left else self.asked[0][1].callback(b"yes")

        self.clock.callLater(1.0, turn, 10)
        self.clock.advance(1.0)
        self.assertEqual(self.successResultOf(asked), b"yes")

    def test_pieces_without_end(self):
        """But not for ever, however slow it is."""
        failures: list[Failure] = []
        self.asker.ask(WORDS).addErrback(failures.append)

        def turn():
            self.clock.rightNow += 0.3
            if not failures:
                self.clock.callLater(0, turn)

        self.clock.callLater(1.0, turn)
        self.clock.advance(1.0)
        self.assertEqual(len(failures), 1)
        self.assertLessEqual(self.clock.seconds(), 2.0 + 2 * 0.3)

    def test_refused(self):
        """What all would refuse is asked once."""
        asked = self.asker.ask(WORDS)
        self.asked[0][1].errback(EtcdRefusal(7, "etcdserver: permission denied", 403))
        self.failureResultOf(asked, EtcdRefusal)
        self.assertEqual(self.members(), [0])

    def test_bounded(self):
        """No more than so many wait for an answer; others wait for their turn, and no more than so many of those."""
        asked = [self.asker.ask(WORDS) for _ in range(MOST_WAITING + MOST_QUEUED + 1)]
        self.assertIn("100 questions wait for etcd already", self.failed(asked.pop()))
        self.assertEqual(len(self.asked), MOST_WAITING)
        self.asker.close()
        for each in asked:
            self.assertIn("is closed", self.failed(each))
        self.assertIn("is closed", self.failed(self.asker.ask(WORDS)))
        self.assertEqual((len(self.asked), self.clock.getDelayedCalls()), (MOST_WAITING, []))

    def test_silent_for_a_while(self):
        """Where no member has answered for a while, nobody waits for his turn any more; until one answers."""
        first = self.asker.ask(WORDS)
        self.clock.advance(0.5)
        more = [self.asker.ask(WORDS) for _ in range(MOST_WAITING)]
        self.assertIn("100 questions wait for etcd already", self.failed(more.pop()))
        self.asked[0][1].callback(b"yes")
        self.assertEqual(self.successResultOf(first), b"yes")
        more += [self.asker.ask(WORDS) for _ in range(MOST_QUEUED + 1)]
        self.assertIn("100 questions wait for etcd already", self.failed(self.asker.ask(WORDS)))
        self.asker.close()
        for each in more:
            self.failed(each)

    def test_closed_by_one_who_gives_up_others(self):
        asked = [self.asker.ask(WORDS) for _ in range(2)]
        for each, other in ((asked[0], asked[1]), (asked[1], asked[0])):
            each.addErrback(partial(_cancel, other))
        self.asker.close()
        self.assertEqual([each.called for each in asked], [True, True])

    def test_turns(self):
        """Who waits for his turn is asked as soon as another is answered, and given up in his own time."""
        asked = [self.asker.ask(WORDS) for _ in range(MOST_WAITING + 2)]
        self.clock.advance(0.4)
        self.asked[0][1].callback(b"yes")
        self.assertEqual(self.successResultOf(asked[0]), b"yes")
        self.assertEqual(len(self.asked), MOST_WAITING + 1)
        self.asked[-1][1].callback(b"yes too")
        self.assertEqual(self.successResultOf(asked[-2]), b"yes too")
        self.assertEqual(len(self.asked), MOST_WAITING + 2)
        late = self.asker.ask(WORDS)
        self.clock.pump([0.7, 0, 0])
        for each in asked[1:-2]:
            self.failed(each)
        self.assertNoResult(late)
        self.clock.pump([0.4, 0])
        self.assertIn("did not answer within 1 s", self.failed(late))
        self.failed(asked[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_fail_at_once(self):
        """A thousand that fail as soon as they are asked are no chain of calls."""
        first = [self.asker.ask(WORDS) for _ in range(MOST_WAITING)]
        queued = [self.asker.ask(WORDS) for _ in range(MOST_QUEUED)]

        async def refuse(member, words):
            raise EtcdRefusal(7, "etcdserver: permission denied", 403)

        self.asker._ask = refuse
        self.asked[0][1].callback(b"yes")
        for each in queued:
            self.failureResultOf(each, EtcdRefusal)
        self.asker.close()
        for each in first[1:]:
            self.failed(each)

    def test_cancelled(self):
        asked = self.asker.ask(WORDS)
        asked.addErrback(lambda _: None)
        asked.cancel()
        self.assertTrue(self.asked[0][1].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class NonsenseTests(TestCase):
    """Who answers is no etcd, or does not answer as etcd does: an error in time, and nothing in the log beside it."""

    timeout = 60

    def matchmaker(self, says):
        server = TcpServer(self, says)
        host, _, port = server.address.removeprefix("tcp://").rpartition(":")
        made = etcd_matchmaker(reactor, EtcdPlace(((host, int(port)),)), 0.5, Random(1))
        self.addCleanup(made.close)
        self.lines = LogLines(self, "zmqrpc")
        return made

    async def refused(self, says, text):
        matchmaker, heard = self.matchmaker(says), Heard()
        matchmaker.watch("openstack", "compute", heard)
        for ask in everything(matchmaker):
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await ask()
            self.assertIn(text, str(caught.exception))
            self.assertIn("127.0.0.1:", str(caught.exception))
            for piece in ("Error(", "[<", "('", "malformed", "$."):
                self.assertNotIn(piece, str(caught.exception))
            self.assertLess(len(str(caught.exception)), 700)
        await matchmaker.close()
        self.assertEqual(heard.calls, [])
        self.assertEqual(len(self.lines), 1, self.lines)

    async def test_no_http(self):
        await self.refused(b"+PONG\r\n\r\n", "does not answer as etcd 3.4 or later does")

    async def test_web_page(self):
        page = b"<html><body>It works!</body></html>"
        await self.refused(_answer(page), "answered what is no answer")
        await self.refused(
            _answer(page, b"404 Not Found"), "does not answer as etcd 3.4 or later does (HTTP status 404"
        )

    async def test_ipv6(self):
        """A member is reached at an address of IPv6, which is no name to be looked up, nor one to be spelled out."""

        class Page(Protocol):
            def dataReceived(self, data):
                self.transport.write(_answer(b"<html>"))  # type: ignore[union-attr]

        listening = reactor.listenTCP(0, Factory.forProtocol(Page), interface="::1")
        self.addCleanup(listening.stopListening)
        made = etcd_matchmaker(reactor, EtcdPlace((("::1", listening.getHost().port),)), 5.0, Random(1))
        self.addCleanup(made.close)
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await made.lookup("openstack", "compute")
        self.assertIn("answered what is no answer", str(caught.exception))

    async def test_redirected(self):
        """Nobody is sent elsewhere, with what we say."""
        await self.refused(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "HTTP status 302"
        )

    async def test_wrong_types(self):
        for body in (
            b"[]",
            b"null",
            b"{}",
            b'{"header":{"revision":"many"}}',
            b'{"header":{"revision":1},"responses":5}',
        ):
            await self.refused(_answer(body), "answered what is no answer")

    async def test_half(self):
        await self.refused(_answer(b'{"header":{"revi'), "answered what is no answer")

    def test_ended_in_the_midst(self):
        """As of a member that is killed: nothing is wrong with what it says, or with the URL."""
        for kind in (http._DataLoss, http.PotentialDataLoss):
            said = error_of(kind("still expecting more"), None).fault.sentence("M")
            self.assertIn("M closed the connection; see its log", said)

    async def test_silence_within(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
        await self.refused(head, "did not answer within 0.5 s")

    async def test_endless(self):
        """An answer that does not end is given up."""
        self.patch(access, "LARGEST_ANSWER", 100_000)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.refused(
            head + b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"10000\r\n" + b"x" * 65536, "does not come to an end"
        )
        await self.refused(
            b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + b"x" * 65536, "as no etcd does"
        )


class StreamTests(SynchronousTestCase):
    """One stream, on a clock, at a member that is only pretended."""

    def setUp(self):
        self.clock = Clock()
        self.said: list[Any] = []
        self.store: Any = b"s"
        self.asked = 0
        self.current = 1
        self.listening: Any = None

    def called(self, member):
        return f"M{member}"

    async def ask(self, member, words):
        self.asked += 1
        if self.store is None:
            await Deferred()
        pair = {"key": "", "value": base64.b64encode(self.store).decode()}
        return json.dumps({"header": {"revision": "1"}, "kvs": [pair]}).encode()

    async def check(self):
        """Ask any member, in time: `current` answers."""
        self.asked += 1
        if self.store is None:
            raise MatchmakerUnavailable("nobody answers")
        return self.current, self.store.decode()

    async def listen(self, member, words, take):
        self.take = take
        self.listening = Deferred()
        await self.listening

    def stream(self, wanted=2):
        pretended: Any = self
        topics = {("openstack", f"t{number}"): number for number in range(wanted)}
        stream = EtcdStream(
            self.clock,
            pretended,
            EtcdWords("zmqrpc"),
            1,
            Random(1),
            0.5,
            self.check,
            lambda store: self.said.append(store) or topics,
            lambda topic, change: self.said.append((topic[1], change.number)),
            lambda: self.said.append("hears"),
            lambda failed, fault: self.said.append(("ended", fault.sentence("M1") if fault else failed)),
        )
        stream.begin()
        return stream

    def test_first_question_not_answered(self):
        self.store = None
        self.stream()
        self.clock.advance(0.5)
        self.assertEqual(self.said, [("ended", "M1 did not answer within 0.5 s")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_first_question_answered_in_pieces(self):
        """What takes several turns of a process that was kept from running is no reason to give up a member."""
        answer: Deferred[None] = Deferred()
        ask = self.ask

        async def slowly(member, words):
            await answer
            return await ask(member, words)

        self.ask = slowly  # type: ignore[method-assign]
        stream = self.stream()

        def turn(left):
            self.clock.callLater(0, turn, left - 1) if left else answer.callback(None)

        self.clock.callLater(0.5, turn, 5)
        self.clock.advance(0.5)
        self.assertEqual(self.said, ["s"])
        self.clock.callLater(0.5, turn, 5)
        answer = Deferred()
        answer.addCallback(lambda _: self.tell(*({"result": {"watch_id": n, "created": True}} for n in (1, 2))))
        self.clock.advance(0.5)
        self.assertEqual(self.said[-1], "hears")
        stream.end()

    def tell(self, *lines):
        """Give it lines, in pieces."""
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        try:
            for start in range(0, len(text), 7):
                self.take(text[start : start + 7])
        except Exception:
            self.listening.errback()

    def test_fault_of_ours(self):
        """Whatever is raised in the midst of it ends the stream, and is logged: nobody waits for what does not come."""
        self.stream()
        self.confirm()
        self.listening.errback(KeyError("oops"))
        self.assertIn("ended", self.said[-1])
        self.assertIn("KeyError", self.said[-1][1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def confirm(self, count=2):
        self.tell(*({"result": {"created": True, "watch_id": str(number + 1)}} for number in range(count)))

    def test_begins(self):
        stream = self.stream()
        self.confirm()
        self.assertEqual(self.said, ["s", ("t0", 1), ("t1", 2), "hears"])
        self.clock.advance(0.5)
        stream.end()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.said)), ([], 4))

    def test_nothing_wanted(self):
        self.stream(0)
        self.assertEqual((self.said, self.listening, self.clock.getDelayedCalls()), (["s"], None, []))

    def test_not_confirmed(self):
        self.stream()
        self.tell({"result": {"created": True, "watch_id": "1"}})
        self.clock.advance(0.5)
        self.assertEqual(self.said[-1], ("ended", "M1 did not begin all watches within 0.5 s"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_probed(self):
        """A member that tells nothing is asked now and then whether it still answers; one that told is not."""
        self.stream()
        self.confirm()
        self.clock.pump([0.1] * 100)
        self.assertIn(self.asked, range(5, 8))
        for _ in range(100):
            self.clock.advance(0.1)
            self.tell({"result": {"watch_id": "9"}})
        self.assertLess(self.asked, 9)
        self.store = None
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.said[-1], ("ended", True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent_from_the_start(self):
        self.store = None
        self.stream()
        self.clock.advance(0.5)
        self.assertEqual(self.said, [("ended", "M1 did not answer within 0.5 s")])

    def test_left(self):
        """Where another member answers instead, this one hangs or is cut off: it is left, and nothing has failed."""
        self.stream()
        self.confirm()
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.said[-1], "hears")
        self.current = 2
        self.clock.pump([0.1] * 25)
        self.assertEqual(self.said[-1], ("ended", False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_store(self):
        self.stream()
        self.confirm()
        self.store = b"other"
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.said[-1], ("ended", False))

    def test_nonsense(self):
        for lines, text in (
            ([5], "M1 told what is no change"),
            ([{}], "M1 told what is no change"),
            ([{"result": {"events": [{"kv": {"key": "###"}}]}}], "M1 told what is no change"),
            ([{"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}], "M1 has no leader"),
            ([{"result": {"canceled": True, "cancel_reason": "permission denied"}}], "does not allow our user"),
            ([{"result": {"canceled": True}}], "M1 refuses what it was asked (it says no reason)"),
        ):
            self.stream()
            self.tell(*lines)
            self.assertIn(text, self.said[-1][1])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_endless_line(self):
        self.patch(stream, "LONGEST_LINE", 100)
        self.stream()
        self.tell("x" * 200)
        self.assertIn("M1 does not come to an end of a line", self.said[-1][1])

    def test_ended(self):
        """A member that ends its answer has ended the stream."""
        self.stream()
        self.confirm()
        self.listening.callback(None)
        self.assertEqual(self.said[-1], ("ended", "M1 has ended what it told"))


class Streams:
    """What is made instead of streams."""

    def __init__(self, member, begun, told, hears, ended):
        self.member, self.begun, self.told, self.hears, self.ended = member, begun, told, hears, ended
        self.over = False

    def begin(self):
        pass

    def end(self):
        self.over = True


class FollowerTests(SynchronousTestCase):
    """What one follows of an etcd that is only pretended, on a clock."""

    topic = ("openstack", "compute")

    def setUp(self):
        self.clock = Clock()
        self.store = "s"

    def follower(self, number=0, count=1, members=1, chance=None):
        """Make one of so many, who know each other, that hears everything."""
        streams: list[Any] = []
        shown: list[Any] = []
        states: list[Any] = []
        entries = [_entry(each) for each in range(count)]
        chance = chance or Random(number)
        rotation = Rotation([f"M{number}" for number in range(members)], chance)
        follower = EtcdFollower(
            self.clock,
            rotation,
            lambda *callbacks: streams.append(Streams(*callbacks)) or streams[-1],
            lambda topic: self.look(entries),
            lambda topic, sightings: shown.append((self.clock.seconds(), len(sightings))),
            states.append,
            chance,
            Crowd(chance.random),
            "here",
        )
        follower.ours(f"{number:032x}")
        follower.add(self.topic)
        self.clock.advance(0)
        self.clock.pump([0.02] * 2)
        self.assertEqual(streams[-1].begun("s"), {self.topic: 6})
        streams[-1].hears()
        self.addCleanup(follower.close)
        return follower, streams, shown, states

    def look(self, entries):
        match self.store:
            case "s":
                return succeed(Look("s", 5, tuple(entries)))
            case "backup":
                return succeed(Look("s", 9, tuple(entries[:1])))
            case "new":
                return succeed(Look("s", 8, tuple(_entry(number) for number in range(5))))
        return succeed(Look(self.store, 2, ()))

    def test_members_tried_first(self):
        """Nothing is lost before all members were tried; what is lost is said, and that it is back."""
        _, streams, _, states = self.follower(members=3)
        self.assertEqual(states, [None])
        self.clock.advance(2 * STEADY_SECONDS)
        for count in range(1, 4):
            self.assertEqual(states, [None])
            streams[-1].ended(True, Fault("is away"))
            self.clock.pump([0.05] * 10)
            self.assertEqual(len(streams), count + 1)
        self.assertEqual(len({stream.member for stream in streams}), 3)
        self.assertEqual(states[1:], ["etcd cannot be used at M0, M1, M2 (is away)"])
        streams[-1].hears()
        self.assertIsNone(states[-1])

    def test_streams_that_end_at_once(self):
        """A gateway that begins everything and hangs up is no less patient with, and one outage."""
        _, streams, _, states = self.follower()
        streams[-1].over = True
        streams[-1].ended(True, Fault("has ended what it told"))
        for _ in range(3000):
            if not streams[-1].over:
                streams[-1].over = True
                streams[-1].begun("s")
                streams[-1].hears()
                streams[-1].told(self.topic, Change(1, 9, False, "compacted", True, ()))
                self.clock.advance(0.1)
                streams[-1].ended(True, Fault("has ended what it told"))
            self.clock.advance(0.001)
        self.assertLessEqual(len(streams), 3 * 2 + 3)
        self.assertEqual(states.count(None), 1)
        streams[-1].begun("s")
        streams[-1].hears()
        self.assertIsNotNone(states[-1])
        self.clock.advance(STEADY_SECONDS)
        self.assertIsNone(states[-1])

    def test_looks_that_are_always_too_old(self):
        """What comes later than what was told after it is put off longer and longer."""
        follower, streams, _, _ = self.follower()
        looked: list[float] = []

        def look(topic):
            looked.append(self.clock.seconds())
            revision = 10 + len(looked)
            changed = evolve(_entry(revision), revision=revision)
            streams[-1].told(self.topic, Change(1, revision, False, None, False, (changed,)))
            return succeed(Look("s", 5, ()))

        follower._look = look
        follower._look_in(follower._followed[self.topic], 0)
        self.clock.pump([0.001] * 1000)
        self.assertLessEqual(len(looked), 10)

    def test_two_stores(self):
        """Where two answer for one, so that no stream goes on with what was looked at, few are begun."""
        follower, streams, _, _ = self.follower()
        follower.wrote(self.topic, 5)
        looks = 0

        def look(topic):
            nonlocal looks
            looks += 1
            return succeed(Look("s", 5, ()))

        follower._look = look
        streams[-1].ended(True, Fault("is away"))
        before = begun = len(streams)
        for _ in range(2000):
            if len(streams) > begun:
                begun = len(streams)
                self.assertEqual(streams[-1].begun("other"), {})
            self.clock.advance(0.001)
        self.assertLessEqual(begun - before, 2 * MOST_STREAMS + 1)
        self.assertLessEqual(looks, 2 * MOST_STREAMS + 1)

    def test_elections(self):
        """What an election may be the reason of is said when it lasts for longer than any."""
        for fault in (
            Fault("has no leader", said="etcdserver: no leader", passes=True),
            Fault("is silent", passes=True),
        ):
            _, streams, _, states = self.follower(members=3)
            for since in range(5):
                self.assertEqual(states, [None])
                streams[-1].ended(True, fault if since else Fault("is away"))
                self.clock.pump([0.1] * 11)
            streams[-1].ended(True, fault)
            self.assertEqual(len(states), 2, states)
            self.assertIn(fault.what, states[-1])
        _, streams, _, states = self.follower()
        streams[-1].ended(True, fault)
        self.assertEqual(len(states), 2, "one alone is silent for another reason")

    def test_stream_that_ends_as_it_begins(self):
        """It has failed as any other: the next begins in its turn, at another member."""
        _, streams, _, states = self.follower(members=3)
        self.patch(Streams, "begin", lambda stream: stream.ended(True, Fault("is away")))
        streams[-1].ended(True, Fault("is away"))
        self.clock.pump([0.05] * 60)
        self.assertEqual(len({stream.member for stream in streams[:3]}), 3)
        self.assertEqual(states[:2], [None, "etcd cannot be used at M0, M1, M2 (is away)"])
        self.patch(Streams, "begin", lambda stream: None)
        self.clock.pump([0.05] * 30)
        begun = len(streams)
        streams[-1].hears()
        self.clock.pump([0.05] * 30)
        self.assertEqual((len(streams), states[-1]), (begun, None))

    def test_stream_that_lags(self):
        """What we have written ourselves is told in time: looking for it at each change is work for a busy store."""
        follower, streams, shown, _ = self.follower()
        looked: list[float] = []

        def look(topic):
            looked.append(self.clock.seconds())
            return fail(MatchmakerUnavailable("it is busy"))

        follower._look = look
        self.clock.pump([0.5])
        count = len(shown)
        follower.wrote(self.topic, 100)
        for revision in range(6, 100):
            changed = evolve(_entry(revision), revision=revision)
            streams[-1].told(self.topic, Change(1, revision, False, None, False, (changed,)))
            self.clock.pump([0.02] * 5)
        self.assertLess(len(looked), 6)
        self.assertEqual(len(shown), count)
        changed = evolve(_entry(100), revision=100)
        streams[-1].told(self.topic, Change(1, 100, False, None, False, (changed,)))
        self.clock.pump([0.05] * 5)
        self.assertEqual(len(shown), count + 1)

    def test_looks_that_fail_again_and_again(self):
        """Each is put off for longer: who looks has others to look beside it, and a store that is too busy for them."""
        follower, _, _, _ = self.follower()
        looked: list[float] = []
        away = True

        def look(topic):
            looked.append(self.clock.seconds())
            return fail(MatchmakerUnavailable("away")) if away else self.look([])

        follower._look = look
        follower.add(("openstack", "other"))
        self.clock.pump([0.25] * 200)
        self.assertLess(len(looked), 12)
        pauses = [after - before for before, after in pairwise(looked)]
        self.assertLessEqual(pauses[0], 1.25)
        self.assertGreater(min(pauses[-2:]), 4.5)
        self.assertLessEqual(max(pauses), 10.25)
        away = False
        self.clock.pump([0.25] * 44)
        away = True
        looked.clear()
        follower._look_in(follower._followed["openstack", "other"], 0)
        self.clock.pump([0.25] * 6)
        self.assertEqual(len(looked), 2, "the first pause is short again")

    def test_looks_that_fail_at_once(self):
        """Thousands of topics that cannot be looked at are no chain of calls, and all of them are looked at again."""
        follower, _, _, _ = self.follower()
        looked: list[Any] = []

        def look(topic):
            looked.append(topic)
            return fail(MatchmakerUnavailable("away"))

        follower._look = look
        lines = LogLines(self, "zmqrpc")
        for number in range(2000):
            follower.add(("openstack", f"t{number}"))
        self.clock.advance(0)
        self.assertEqual((len(looked), list(lines)), (2000, []))
        self.clock.pump([0.1] * 20)
        self.assertEqual(len(set(looked[2000:])), 2000)

    def test_moved(self):
        """A stream that ends without a reason is begun at the member that is current, and nothing is said."""
        follower, streams, _, states = self.follower(members=3)
        follower._rotation.worked((streams[-1].member + 1) % 3)
        streams[-1].ended(False, None)
        self.clock.pump([0.05] * 3)
        self.assertEqual(streams[1].member, (streams[0].member + 1) % 3)
        self.assertEqual(states, [None])

    def test_crowd_returns(self):
        """Five hundred servers who lost their streams begin them again evenly."""
        crowd = [self.follower(number, 500) for number in range(0, 500, 10)]
        lost = self.clock.seconds()
        for _, streams, _, _ in crowd:
            streams[-1].ended(True, Fault("is away"))
        begins = [follower._begins.getTime() - lost for follower, *_ in crowd]
        self.assertGreater(max(begins), 4)
        self.assertLessEqual(max(begins), 4.5)
        for second in range(4):
            within = sum(second <= begin < second + 1 for begin in begins)
            self.assertIn(within, range(10, 13), begins)

    def test_crowd_tries_again(self):
        """While nobody is there they keep their turns."""
        follower, streams, _, _ = self.follower(250, 500)
        begins = []
        for _ in range(4):
            streams[-1].ended(True, Fault("is away"))
            begins.append(follower._begins.getTime())
            self.clock.advance(begins[-1] - self.clock.seconds())
        for begin, after in pairwise(begins):
            self.assertAlmostEqual(after - begin, 4.5)

    def wipe(self, streams, count):
        gone = tuple(Entry(f"k{each}", None, 6, 0) for each in range(count))
        streams[-1].told(self.topic, Change(1, 6, False, None, False, gone))

    def test_wiped(self):
        """When all is deleted at once, each looks after his own in his turn; what single ones lose is heard at once."""
        heard = {}
        for number in range(0, 500, 50):
            follower, streams, shown, _ = self.follower(number, 500)
            follower.wrote(self.topic, 5)
            self.clock.pump([0.5])
            self.wipe(streams, 500)
            began = self.clock.seconds()
            self.clock.pump([0.01] * 460)
            at, count = shown[-1]
            self.assertEqual(count, 0)
            heard[number] = at - began
        for number, seconds in heard.items():
            self.assertApproximates(seconds, number / 500 * 4.5, 0.05)
        _, streams, shown, _ = self.follower(400, 500)
        self.clock.pump([0.5])
        self.wipe(streams, 1)
        self.clock.pump([0.01])
        self.assertEqual(shown[-1][1], 499)

    def test_many_deleted(self):
        """Of many that go at once those hear at once who lost nothing; the others, who have to store, in their turn."""
        for number, turn in ((100, 0.9), (300, 2.7), (450, 0), (1000, 0)):
            follower, streams, shown, _ = self.follower(number, 500)
            follower.wrote(self.topic, 5)
            self.clock.pump([0.5])
            self.wipe(streams, 400)
            began = self.clock.seconds()
            new = evolve(_entry(600), revision=7)
            streams[-1].told(self.topic, Change(1, 7, False, None, False, (new,)))
            self.clock.pump([0.01] * 460)
            at, count = shown[-1]
            self.assertEqual(count, 101)
            self.assertApproximates(at - began, turn, 0.05)
            self.assertFalse(streams[-1].over)

    def test_wiped_and_back(self):
        """What the others do then is heard of when all had their turns; who only looks for others waits for that."""
        for writes in (True, False):
            follower, streams, shown, _ = self.follower(100, 500)
            if writes:
                follower.wrote(self.topic, 5)
            self.clock.pump([0.5])
            first = streams[-1]
            self.wipe(streams, 500)
            self.assertTrue(first.over)
            self.assertFalse(follower.hears)
            self.clock.pump([0.1] * 53)
            self.assertEqual((len(streams), shown[-1][1]), (1, 0 if writes else 500))
            self.clock.pump([0.1] * 3)
            self.assertEqual(streams[-1].begun("s"), {self.topic: 7})
            streams[-1].hears()
            back = tuple(evolve(_entry(number), revision=7 + number) for number in range(400))
            streams[-1].told(self.topic, Change(1, 500, False, None, False, back))
            self.clock.pump([0.1] * 11)
            self.assertEqual({count for _, count in shown}, {500, 0, 400} if writes else {500, 400})

    def test_back_empty(self):
        """Who finds another store in his turn looks at once, and hears of the others when all had their turns."""
        follower, streams, shown, _ = self.follower(400, 500)
        follower.wrote(self.topic, 5)
        streams[-1].ended(True, Fault("is away"))
        self.clock.pump([0.1] * 46)
        self.store = "other"
        self.assertEqual(streams[-1].begun("other"), {})
        found = self.clock.seconds()
        self.clock.pump([0.01])
        self.assertEqual(shown[-1], (self.clock.seconds(), 0))
        self.assertApproximates(follower._begins.getTime() - found, 4.5, 0.1)

    def test_back_empty_for_a_client(self):
        """Who looks for others where they register waits until they have, with what he knows of them."""
        follower, streams, shown, _ = self.follower(400, 500)
        streams[-1].ended(True, Fault("is away"))
        self.clock.pump([0.1] * 46)
        self.store = "other"
        self.assertEqual(streams[-1].begun("other"), {})
        self.clock.pump([0.1] * 44)
        self.assertEqual(len(shown), 1)
        self.clock.pump([0.1] * 3)
        self.assertEqual((len(shown), shown[-1][1]), (2, 0))
        self.assertLessEqual(follower._begins.getTime(), self.clock.seconds() + 0.1)

    def test_topics_are_added(self):
        """A stream that begins is let finish while topics are added, and the one before is heard until then."""
        follower, streams, _, _ = self.follower()
        first = streams[0]
        for number in range(20):
            follower.add(("openstack", f"t{number}"))
            self.clock.pump([0.02] * 3)
        self.assertEqual((len(streams), first.over), (2, False))
        second = streams[1]
        self.assertEqual(len(second.begun("s")), 21)
        follower.add(("openstack", "late"))
        self.clock.pump([0.02] * 3)
        self.assertEqual((len(streams), first.over, second.over), (2, False, False))
        second.hears()
        self.clock.pump([0.02] * 3)
        self.assertEqual((first.over, second.over, len(streams)), (True, False, 3))
        self.assertEqual(len(streams[2].begun("s")), 22)
        streams[2].hears()
        self.clock.pump([0.02] * 10)
        self.assertEqual((second.over, len(streams)), (True, 3))

    def test_topics_are_added_while_the_member_fails(self):
        """The stream that is heard stays, and a member that does not begin another is left."""
        follower, streams, _, states = self.follower(members=2)
        self.clock.advance(2 * STEADY_SECONDS)
        follower.add(("openstack", "t"))
        self.clock.pump([0.02] * 3)
        streams[1].ended(True, Fault("is away"))
        self.clock.pump([0.05] * 5)
        self.assertEqual((len(streams), streams[0].over, follower.hears), (3, False, True))
        self.assertNotEqual(streams[2].member, streams[1].member)
        streams[0].ended(True, Fault("is away"))
        self.assertFalse(follower.hears)
        self.clock.pump([0.05] * 5)
        self.assertEqual(len(streams), 3, "one begins already")
        streams[2].begun("s")
        streams[2].hears()
        self.assertTrue(follower.hears)
        self.assertIsNone(states[-1])
        follower.close()
        self.assertTrue(streams[2].over)

    def test_store_of_another_name(self):
        """A stream that nothing can be resumed on ends without a word, and another begins after the look."""
        _, streams, _, _ = self.follower()
        streams[0].ended(False, None)
        self.clock.pump([0.05] * 5)
        self.store = "other"
        self.assertEqual(streams[1].begun("other"), {})
        self.clock.pump([0.02] * 8)
        self.assertEqual(len(streams), 3)
        self.assertEqual(streams[2].begun("other"), {self.topic: 3})

    def test_back_in_a_backup(self):
        """A store that went back, and on past what was heard, looks as if nothing had happened: it is looked at."""
        _, streams, shown, _ = self.follower(count=3)
        self.clock.advance(2 * STEADY_SECONDS)
        streams[0].ended(True, Fault("is away"))

        streams[0].ended(True, Fault("is away"))
        self.clock.pump([0.05] * 5)
        streams[1].begun("s")
        self.store = "backup"
        self.clock.pump([0.05] * 5)
        self.assertEqual(shown[-1][1], 3)
        streams[1].hears()
        self.clock.pump([0.02] * 3)
        self.assertEqual(shown[-1][1], 1)
        count = len(shown)
        streams[1].ended(False, None)
        self.clock.pump([0.05] * 5)
        streams[2].begun("s")
        streams[2].hears()
        self.clock.pump([0.05] * 5)
        self.assertEqual(len(shown), count, "where nothing failed there is nothing to look for")

    def test_looked_at_after_a_loss(self):
        """What was looked at since the stream was lost is not looked at again when the next has begun."""
        for fails_again in (False, True):
            self.store = "s"
            follower, streams, _, _ = self.follower()
            self.clock.advance(2 * STEADY_SECONDS)
            looked: list[float] = []
            look = follower._look
            follower._look = lambda topic, look=look, looked=looked: looked.append(self.clock.seconds()) or look(topic)
            streams[0].ended(True, Fault("is away"))
            self.store = "t"
            self.clock.pump([0.05] * 3)
            self.assertEqual(streams[1].begun("t"), {})
            self.clock.pump([0.05] * 10)
            self.assertEqual((len(looked), len(streams)), (1, 3))
            if fails_again:
                streams[2].ended(True, Fault("is away"))
                self.clock.pump([0.05] * 10)
            self.assertEqual(streams[-1].begun("t"), {self.topic: 3})
            streams[-1].hears()
            self.clock.pump([0.05] * 10)
            self.assertEqual(len(looked), 2 if fails_again else 1)

    def test_look_that_our_write_passed(self):
        """What is older than what we have written ourselves is not shown: we would seem to have lost it."""
        follower, streams, shown, _ = self.follower(count=2)
        self.clock.pump([0.5])
        before = len(shown)
        self.store = "new"
        follower.wrote(self.topic, 8)
        lagging = Change(1, 7, False, None, False, (Entry("k0", None, 7, 0),))
        streams[0].told(self.topic, lagging)
        self.clock.advance(0)
        self.assertEqual(len(shown), before)
        self.clock.pump([0.1] * 11)
        self.assertEqual([count for _, count in shown[before:]], [5])

    def test_compacted(self):
        """What cannot be resumed is looked at again in a turn."""
        follower, streams, _, _ = self.follower(250, 500)
        streams[-1].told(self.topic, Change(1, 9, False, "compacted", True, ()))
        looks = follower._followed[self.topic].looks
        self.assertApproximates(looks.getTime() - self.clock.seconds(), 2.25, 0.02)


def _cancel(asked, _):
    asked.cancel()


def _entry(number):
    return Entry(f"k{number}", make_record(member=f"node-{number:03}", number=number), 3, 0)


def _answer(body, status=b"200 OK"):
    return b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
