"""What a local publisher takes, repeats and answers: plain calls; no reactor, no clock."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.keys import Counter, encode_counter, token_key, topic_key
from zmqrpc.core.local_publications import Heard, LocalPublications
from zmqrpc.core.outage import AGAIN_SECONDS, Outage
from zmqrpc.core.publications import Say
from zmqrpc.core.surplus import NO_FILTER
from zmqrpc.core.tokens import MOST_TOKENS
from zmqrpc.errors import RemoteProtocolError

LOCAL, P, Q = b"l" * 16, b"p" * 16, b"q" * 16
A, B, C, D = (topic_key("x", name) for name in "abcd")
TOKENS = [token_key(b"%016d" % number) for number in range(5)]
NOTHING: dict[str, int] = {}


def counter(publisher: bytes, count: int) -> bytes:
    return encode_counter(Counter(publisher, count))


ANSWERS = [Say(token, counter(LOCAL, 0)) for token in TOKENS]


def subscribed(*filters: bytes) -> LocalPublications:
    """Make a local publisher that has subscribed to filters."""
    publications = LocalPublications(LOCAL, 100)
    for filter in filters:
        publications.subscribed(filter, "me")
    publications.changes()
    return publications


class FilterTests(SynchronousTestCase):
    def test_each_is_subscribed_to_once(self):
        publications = LocalPublications(LOCAL, 100)
        for filter in (B, A, B, A):
            self.assertIsNone(publications.subscribed(filter, "me"))
        self.assertEqual(publications.changes(), ([B, A], []))
        publications.subscribed(A, "me")
        self.assertEqual(publications.changes(), ([], []))
        publications.unsubscribed(A)
        self.assertEqual(publications.changes(), ([], [A]))
        self.assertEqual(list(publications.filters), [B])

    def test_who_comes_and_goes_within_a_pass_changes_nothing(self):
        publications = subscribed(A)
        publications.subscribed(B, "me")
        publications.unsubscribed(B)
        publications.unsubscribed(A)
        publications.subscribed(A, "me")
        self.assertEqual(publications.changes(), ([], []))
        publications.heard("1", A, counter(P, 7))
        publications.unsubscribed(A)
        publications.subscribed(A, "me")
        self.assertEqual(publications.changes(), ([], []))
        self.assertEqual(publications.answer(NOTHING, NOTHING), [Say(A, counter(P, 7))])

    def test_what_is_refused(self):
        publications = LocalPublications(LOCAL, most=2)
        for filter in (b"", b"T", A[:-1], b"K", b"anything"):
            self.assertIs(publications.subscribed(filter, "me"), NO_FILTER)
        for filter in (A, B, A):
            self.assertIsNone(publications.subscribed(filter, "me"))
        for filter in (b"", TOKENS[0]):
            publications.unsubscribed(filter)

    def test_one_too_many(self):
        """Nobody else loses his own for it; it is subscribed to when there is room, and after a tenth more it ends."""
        publications = LocalPublications(LOCAL, most=2)
        faults = [publications.subscribed(filter, "me") for filter in (A, B, C, C, D)]
        self.assertEqual([fault and fault.ends for fault in faults], [None, None, False, False, True])
        self.assertIn("one too many, 2 may be", str(faults[2]))
        self.assertEqual(publications.changes(), ([A, B], []))
        publications.unsubscribed(C)
        self.assertEqual(publications.subscribed(D, "me"), faults[2])
        publications.unsubscribed(A)
        self.assertEqual(publications.changes(), ([D], [A]))
        publications.unsubscribed(B)
        self.assertIsNone(publications.subscribed(C, "me"))
        self.assertEqual(list(publications.filters), [B, D])
        self.assertEqual(publications.changes(), ([C], [B]))

    def test_one_that_comes_in_place_of_another_within_a_pass(self):
        publications = LocalPublications(LOCAL, most=1)
        for filter in (A, B):
            publications.subscribed(filter, "me")
        publications.changes()
        publications.heard("1", A, counter(P, 7))
        publications.unsubscribed(A)
        publications.subscribed(A, "me")
        publications.unsubscribed(B)
        self.assertEqual(publications.changes(), ([], []))
        self.assertEqual(publications.answer(NOTHING, NOTHING), [Say(A, counter(P, 7))])

    def test_too_many_tokens(self):
        publications = LocalPublications(LOCAL, most=2)
        for number in range(MOST_TOKENS):
            self.assertIsNone(publications.subscribed(token_key(b"%016d" % number), "me"))
        self.assertIn("one token too many", str(publications.subscribed(token_key(b"one more".ljust(16)), "me")))
        publications.unsubscribed(TOKENS[0])
        self.assertIsNone(publications.subscribed(TOKENS[0], "me"))


class TokenTests(SynchronousTestCase):
    def test_confirmed_by_every_publisher_that_is_connected(self):
        publications = subscribed(A)
        publications.subscribed(TOKENS[0], "me")
        asked = {"1": 4, "2": 6, "3": 1}
        for confirmed in ({"1": 3, "2": 6}, {"1": 4, "2": 5}, {"1": -1, "2": 6}, {"1": 4, "2": 6, "3": 0}, {}):
            self.assertEqual(publications.answer(asked, confirmed), [], confirmed)
        # The third is not connected any more.
        self.assertEqual(publications.answer(asked, {"1": 4, "2": 7}), ANSWERS[:1])
        self.assertEqual((publications.answer(asked, {"1": 4, "2": 7}), publications.waiting), ([], 0))

    def test_not_kept_waiting_by_those_who_come_later(self):
        publications = subscribed(A)
        for number in range(4):
            publications.subscribed(TOKENS[number], "me")
            self.assertEqual(publications.answer({"1": number + 1}, {"1": 0}), [])
        self.assertEqual(publications.answer({"1": 4}, {"1": 2}), ANSWERS[:2])
        self.assertEqual(publications.answer({"1": 4}, {"1": 4}), ANSWERS[2:4])

    def test_publisher_that_comes_meanwhile(self):
        """It has to have confirmed something, which is everything: it is told all filters at once."""
        publications = subscribed(A)
        publications.subscribed(TOKENS[0], "me")
        publications.answer({"1": 1}, {"1": 0})
        self.assertEqual(publications.answer({"1": 1, "2": 1}, {"1": 1, "2": -1}), [])
        self.assertEqual(publications.answer({"1": 1, "2": 1}, {"1": 1, "2": 0}), ANSWERS[:1])

    def test_no_publisher(self):
        publications = subscribed(A)
        for token in TOKENS:
            publications.subscribed(token, "me")
        self.assertEqual(publications.answer(NOTHING, NOTHING), [])
        self.assertEqual(publications.waiting, 5)
        self.assertEqual(publications.answer({"1": 9}, {"1": 9}), ANSWERS)

    def test_who_has_left_is_not_answered(self):
        publications = subscribed(A)
        publications.subscribed(TOKENS[0], "me")
        publications.answer({"1": 1}, {"1": 0})
        publications.subscribed(TOKENS[1], "me")
        publications.unsubscribed(TOKENS[0])
        publications.unsubscribed(TOKENS[1])
        self.assertEqual(publications.waiting, 0)
        self.assertEqual(publications.answer({"1": 1}, {"1": 1}), [])

    def test_not_more_wait_than_may(self):
        publications = subscribed(A)
        for number in range(150):
            publications.subscribed(token_key(b"%016d" % number), "me")
        publications.answer({"1": 1}, {"1": 0})
        self.assertEqual(publications.waiting, 100)
        self.assertEqual(len(publications.answer({"1": 1}, {"1": 1})), 100)


class HeardTests(SynchronousTestCase):
    def test_forwarded_and_repeated(self):
        """The last counter of each publisher goes to who comes later, before its token is answered."""
        publications = subscribed(A, B)
        for address, key, publisher, count in (("1", A, P, 1), ("2", A, Q, 5), ("1", B, P, 9), ("1", A, P, 2)):
            heard = publications.heard(address, key, counter(publisher, count))
            self.assertIs(heard, Heard.FORWARD)
        for filter in (A, A, TOKENS[0], A):
            publications.subscribed(filter, "me")
        said = publications.answer({"1": 1}, {"1": 1})
        self.assertEqual(said, [Say(A, counter(P, 2)), Say(A, counter(Q, 5)), *ANSWERS[:1]])
        self.assertEqual(publications.answer({"1": 1}, {"1": 1}), [])

    def test_a_lost_publisher_is_not_repeated(self):
        publications = subscribed(A)
        publications.heard("1", A, counter(P, 1))
        publications.heard("2", A, counter(Q, 1))
        publications.lost("1")
        publications.subscribed(A, "me")
        self.assertEqual(publications.answer(NOTHING, NOTHING), [Say(A, counter(Q, 1))])

    def test_what_nobody_subscribes_to(self):
        publications = subscribed(A)
        self.assertIs(publications.heard("1", B, counter(P, 1)), Heard.STRAY)
        publications.unsubscribed(A)
        publications.changes()
        self.assertIs(publications.heard("1", A, counter(P, 1)), Heard.STRAY)

    def test_one_publisher_over_two_subscriptions(self):
        """Under two addresses, or in a ring; it is taken from the other when the first is lost."""
        publications = subscribed(A, B)
        self.assertIs(publications.heard("1", A, counter(P, 1)), Heard.FORWARD)
        for count in (1, 2):
            self.assertIs(publications.heard("2", A, counter(P, count)), Heard.COPY)
        self.assertIs(publications.heard("2", A, counter(Q, 1)), Heard.FORWARD)
        publications.lost("1")
        self.assertIs(publications.heard("2", A, counter(P, 2)), Heard.FORWARD)

    def test_a_filter_that_is_counted_anew(self):
        publications = subscribed(A)
        publications.heard("1", A, counter(P, 7))
        self.assertIs(publications.heard("1", A, counter(Q, 1)), Heard.FORWARD)
        publications.subscribed(A, "me")
        self.assertEqual(publications.answer(NOTHING, NOTHING), [Say(A, counter(Q, 1))])

    def test_no_counter(self):
        publications = subscribed(A)
        for frame in (b"", b"\xc1", b"\x92\xc4\x01x\x01", b"\x92" + counter(P, 1)[1:-1] + b"\xff", b"\x90"):
            with self.assertRaises(RemoteProtocolError):
                publications.heard("1", A, frame)


class OutageTests(SynchronousTestCase):
    def test_said_once(self):
        outage = Outage(2.0)
        outage.begins(10.0)
        outage.begins(11.0)
        self.assertEqual([outage.tick(now) for now in (11.9, 12.0, 12.1, 99.0)], [False, True, False, False])
        self.assertEqual((outage.ends(15.0), outage.ends(16.0)), (5.0, None))

    def test_said_again(self):
        outage = Outage(2.0)
        outage.begins(10.0)
        said = [now for now in range(10, 1000) if outage.tick(now)]
        self.assertEqual(said, [12, 12 + AGAIN_SECONDS, 12 + 2 * AGAIN_SECONDS, 12 + 3 * AGAIN_SECONDS])
        self.assertEqual(outage.ends(1000.0), 990.0)
        self.assertFalse(outage.tick(9999.0))

    def test_back_in_a_moment(self):
        outage = Outage(2.0)
        outage.begins(10.0)
        self.assertIsNone(outage.ends(11.0))
        self.assertFalse(outage.tick(99.0))
        outage.begins(100.0)
        self.assertEqual((outage.wake_at, outage.tick(102.0)), (102.0, True))
