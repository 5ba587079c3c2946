"""The URL of Sentinels, and which master their answers amount to: values, without a connection."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.matchmaker._redis.master import (
    Answer,
    Disagreement,
    Master,
    choose,
    is_enough,
    newer,
    read_answer,
    read_switch,
)
from zmqrpc.matchmaker._redis.next_round import FIRST_AGAIN, ROUND_SECONDS, NextRound
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker.sentinel import read_url
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines

PLACES = [RedisPlace(f"10.0.0.{number}", 26379, kind="Sentinel") for number in range(1, 6)]


def named(number, port, epoch=1, host="10.0.0.9", flags="master"):
    """Return what the Sentinel with a number names."""
    return Answer(PLACES[number], host, port, epoch, frozenset(flags.split(",")))


def silent(number):
    return Answer(PLACES[number], fault=f"{PLACES[number].called} refuses the connection")


class UrlTests(SynchronousTestCase):
    def test_valid(self):
        for url, hosts, group, user, password in (
            ("zmq+sentinel://h", [("h", 26379)], "oslo-messaging-zeromq", b"", None),
            ("zmq+sentinel://h1:1,h2:2,[::1]/g", [("h1", 1), ("h2", 2), ("::1", 26379)], "g", b"", None),
            (
                "zmq+sentinel://:p%40%2F@h1,10.0.0.1:7/a.b-c_1/",
                [("h1", 26379), ("10.0.0.1", 7)],
                "a.b-c_1",
                b"",
                b"p@/",
            ),
            ("zmq+sentinel://ada:p@h", [("h", 26379)], "oslo-messaging-zeromq", b"ada", b"p"),
        ):
            places, found, master = read_url(url)
            self.assertEqual([(place.host, place.port) for place in places], hosts)
            self.assertEqual((found, master.user, master.password), (group, user, password))
            self.assertEqual({place.kind for place in places}, {"Sentinel"})

    def test_invalid(self):
        for url, text in (
            ("zmq+sentinel://", "names no host"),
            ("zmq+sentinel://h1,", "names no host"),
            ("zmq+sentinel://h1,,h2", "names no host"),
            ("zmq+sentinel://h1,h1:26379", "names h1:26379 twice"),
            ("zmq+sentinel://h1:x,h2", "no valid host or no valid port"),
            ("zmq+sentinel://h1:0", "no valid host or no valid port"),
            ("zmq+sentinel://:secret@h1 h2", "no valid host or no valid port"),
            ("zmq+sentinel://ada@h", "a user without a password"),
            ("zmq+sentinel://h/a/b", "names the group 'a/b'"),
            ("zmq+sentinel://h/a%20b", "names the group 'a%20b'"),
            ("zmq+sentinel://h/a#b", "names the group 'a'"),
            ("zmq+sentinel://h/\u0661", "names the group"),
        ):
            error = self.assertRaises(ConfigError, read_url, url)
            self.assertIn(text, str(error), url)
            self.assertIn("for example zmq+sentinel://:PASSWORD@host1:26379,host2", str(error))
            self.assertNotIn("secret", str(error))
            self.assertEqual(error.options, ("url",))

    def test_no_password(self):
        """It is warned of, unless nobody else can reach them."""
        lines = LogLines(self, "zmqrpc.matchmaker.sentinel")
        for hosts in ("127.0.0.1,localhost:2", ":secret@10.0.0.1"):
            make_matchmaker(Clock(), Settings(f"zmq+sentinel://{hosts}"))
        self.assertEqual(lines, [])
        make_matchmaker(Clock(), Settings("zmq+sentinel://127.0.0.1,10.0.0.1/g"))
        (line,) = lines
        self.assertIn("the Redis master g is used without a password", line)


class ChoiceTests(SynchronousTestCase):
    def refused(self, answers, error, *texts):
        said = str(self.assertRaises(error, choose, "g", answers))
        for text in texts:
            self.assertIn(text, said)

    def test_newest(self):
        """The highest epoch counts, however many have an older one."""
        self.assertEqual(choose("g", [named(0, 1), named(1, 1)]), Master("10.0.0.9", 1))
        self.assertEqual(choose("g", [named(0, 1), named(1, 2, 2), named(2, 1)]), Master("10.0.0.9", 2))
        self.assertEqual(choose("g", [silent(0), named(1, 2, 0)]), Master("10.0.0.9", 2))

    def test_majority(self):
        """Of equal epochs the majority counts: the one that leads a failover is the last to name the new master."""
        self.assertEqual(choose("g", [named(0, 1), named(1, 2), named(2, 2)]), Master("10.0.0.9", 2))

    def test_disagreement(self):
        self.refused(
            [named(0, 1), named(1, 2), named(2, 3, 0)],
            Disagreement,
            "the Sentinels disagree about the master g: the Sentinel 10.0.0.1:26379 names 10.0.0.9:1; "
            "the Sentinel 10.0.0.2:26379 names 10.0.0.9:2; see whether",
        )

    def test_none(self):
        self.refused(
            [silent(0), silent(1)],
            MatchmakerUnavailable,
            "no Sentinel names the master g: the Sentinel 10.0.0.1:26379 refuses the connection; the Sentinel 10.0.0.2",
        )

    def test_enough(self):
        """The majority of those that are asked, or all; who does not answer is waited for, while it is not clear."""
        for answers, asked, enough in (
            ([], 3, False),
            ([named(0, 1)], 3, False),
            ([named(0, 1), silent(1)], 3, False),
            ([named(0, 1), named(1, 1)], 3, True),
            ([named(0, 1), named(1, 2)], 3, False),
            ([named(0, 1), named(1, 2, 2)], 3, True),
            ([silent(0), silent(1), silent(2)], 3, True),
            ([named(0, 1)], 1, True),
            ([named(0, 1)], 2, False),
            ([named(0, 1), named(1, 1)], 4, False),
            ([named(0, 1), named(1, 1), silent(3), named(2, 1)], 5, True),
        ):
            self.assertEqual(is_enough(answers, asked), enough, answers)

    @given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 2)), min_size=1, max_size=5), st.randoms())
    def test_order(self, facts, chance):
        """In which order they answer does not matter, nor do those that know less than others."""
        answers = [named(number, port, epoch) for number, (port, epoch) in enumerate(facts)]
        shuffled = list(answers)
        chance.shuffle(shuffled)
        try:
            found = choose("g", answers)
        except Disagreement:
            self.assertRaises(Disagreement, choose, "g", shuffled)
            return
        self.assertEqual(choose("g", shuffled), found)
        newest = [answer for answer in answers if answer.epoch == max(answer.epoch for answer in answers)]
        self.assertEqual(choose("g", newest), found)
        self.assertIn(found.port, [answer.port for answer in newest])

    def test_newer(self):
        """Few that know of less do not change what is known; the majority does, also when it begins anew."""
        known = Master("10.0.0.9", 1, 5)
        for epoch, by_majority, counts in ((4, False, False), (4, True, True), (5, False, True), (6, False, True)):
            found = Master("10.0.0.9", 2, epoch)
            self.assertIs(newer(known, found, by_majority), found if counts else known)
        self.assertIs(newer(None, known, False), known)

    def test_doubt(self):
        """What the Sentinels say against the master; and an address that is another server everywhere."""
        down = choose("g", [named(0, 1, flags="master,s_down"), named(1, 1, flags="master,s_down,o_down")])
        self.assertEqual(
            down.doubt, "there is no master just now: Sentinel finds it down (s_down, o_down), and may choose another"
        )
        self.assertEqual(choose("g", [named(0, 1)]).doubt, "")
        self.assertIn("leads each machine to itself", choose("g", [named(0, 1, host="127.0.0.1")]).doubt)
        here = Answer(RedisPlace("127.0.0.1", 2), "127.0.0.1", 1, 0, frozenset())
        self.assertEqual(choose("g", [here]).doubt, "")


class NextRoundTests(SynchronousTestCase):
    def setUp(self):
        self.next = NextRound(lambda: 0.5)

    def look(self, now, name):
        self.next.begun(now)
        self.assertEqual(self.next.wake_at, inf)
        self.next.over(now, 0.1, name)
        return self.next.wake_at - now

    def test_settled(self):
        """The majority has answered: then it is looked at now and then."""
        self.assertEqual(self.look(0, "a:1"), 0.75 * ROUND_SECONDS)
        self.assertEqual(self.look(0, "a:1"), 0.75 * ROUND_SECONDS)

    def test_not_settled(self):
        """The pauses grow, and are never shorter than the turns of all take."""
        pauses = [self.look(0, "") for _ in range(9)]
        self.assertEqual(pauses[:3], [0.75 * FIRST_AGAIN, 1.5 * FIRST_AGAIN, 3 * FIRST_AGAIN])
        self.assertEqual(pauses[-1], 0.75 * ROUND_SECONDS)
        self.next.begun(0)
        self.next.over(0, 40, "")
        self.assertEqual(self.next.wake_at, 30)

    def test_told(self):
        """All take turns, of which one that is to come stays; what has the majority is no news, and other news is."""
        self.next.told(0, 4, "b:1")
        self.next.told(1, 4, "b:1")
        self.assertEqual(self.next.wake_at, 2)
        self.assertEqual(self.look(2, "a:1"), 0.75 * FIRST_AGAIN, "it is what was")
        self.assertEqual(self.look(3, "b:1"), 0.75 * ROUND_SECONDS)
        wake_at = self.next.wake_at
        self.next.told(4, 4, "b:1")
        self.assertEqual(self.next.wake_at, wake_at)
        self.next.told(4, 4)
        self.assertEqual(self.next.wake_at, 6)

    def test_told_while_asked(self):
        """What was asked before does not count."""
        self.next.begun(0)
        self.next.told(0, 4, "b:1")
        self.next.over(1, 4, "b:1")
        self.assertEqual(self.next.wake_at, 2)

    @given(st.lists(st.tuples(st.sampled_from(["told", "asked"]), st.sampled_from(["", "a:1", "b:1"]))), st.randoms())
    def test_never_forgotten(self, events, chance):
        """Whatever is told and answered, they are asked again in time: soon after what is news, and now and then."""
        moment, known = NextRound(chance.random), ""
        for now, (event, name) in enumerate([("asked", ""), *events]):
            if event == "told":
                moment.told(now, 0.5, name)
                news = not name or name != known
                known = "" if news else known
                self.assertLessEqual(moment.wake_at, now + (0.5 if news else ROUND_SECONDS))
            else:
                moment.begun(now)
                moment.over(now, 0.5, name)
                settled = moment.wake_at - now >= ROUND_SECONDS / 2
                known = name if settled else ""
                self.assertTrue(FIRST_AGAIN / 2 <= moment.wake_at - now <= ROUND_SECONDS)


class AnswerTests(SynchronousTestCase):
    FIELDS = (b"name", b"g", b"flags", b"master,s_down", b"config-epoch", b"7")

    def test_valid(self):
        answer = read_answer(PLACES[0], [b"10.0.0.9", b"6379"], list(self.FIELDS))
        self.assertEqual(answer, named(0, 6379, 7, flags="master,s_down"))
        self.assertEqual(read_answer(PLACES[0], [b"2001:db8::1", b"1"], list(self.FIELDS)).host, "2001:db8::1")
        self.assertEqual(read_answer(PLACES[0], [b"Redis-1.Example", b"1"], list(self.FIELDS)).host, "redis-1.example")

    def test_invalid(self):
        for address, fields in (
            (None, self.FIELDS),
            ([], self.FIELDS),
            ([b"10.0.0.9"], self.FIELDS),
            ([b"10.0.0.9", b"x"], self.FIELDS),
            ([b"10.0.0.9", b"0"], self.FIELDS),
            ([b"10.0.0.9", b"65536"], self.FIELDS),
            ([b"a b", b"1"], self.FIELDS),
            ([b"0.0.0.0", b"1"], self.FIELDS),
            ([b"\xff", b"1"], self.FIELDS),
            ([b"10.0.0.9", b"1"], self.FIELDS[2:4]),
            ([b"10.0.0.9", b"1"], self.FIELDS[:5]),
            ([b"10.0.0.9", b"1"], (b"flags", b"", b"config-epoch", b"x")),
            ([b"10.0.0.9", b"1"], b"OK"),
            ([b"10.0.0.9", b"1"], 5),
            (5, 5),
            ([[b"10.0.0.9"], None], self.FIELDS),
            ([2**60, 2**60], [2**60, 2**60]),
        ):
            given = list(fields) if isinstance(fields, tuple) else fields
            error = self.assertRaises(ValueError, read_answer, PLACES[0], address, given)
            self.assertTrue(str(error).isprintable() and len(str(error)) < 300, str(error))

    def test_switch(self):
        for told, name in (
            ("g 10.0.0.1 1 10.0.0.9 102", "10.0.0.9:102"),
            ("g h 1 2001:db8::1 102", "[2001:db8::1]:102"),
            ("g h 1 Redis-1 102", "redis-1:102"),
            ("g h 1 h x", ""),
            ("g h 1 h", ""),
            ("", ""),
        ):
            self.assertEqual(read_switch(told.split(" ")), name)

    words = st.recursive(st.none() | st.integers() | st.binary(), st.lists)

    @given(words, words)
    def test_anything(self, address, fields):
        """Whatever it is, it is no answer."""
        self.assertRaises(ValueError, read_answer, PLACES[0], address, fields)
