"""The flight recorder: a ring of fixed length, and what a flood may do to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.recorder import MOST_A_SECOND, Recorder

NOW = 1000.0


def names(recorder: Recorder, most: int = 10**9) -> list[str]:
    return [event.name for event in recorder.newest(most)]


class RecorderTests(SynchronousTestCase):
    def test_newest_first(self) -> None:
        recorder = Recorder(10)
        for number in range(3):
            recorder.record(NOW + number, f"event {number}", None, 1, "")
        self.assertEqual(names(recorder), ["event 2", "event 1", "event 0"])
        self.assertEqual(names(recorder, 2), ["event 2", "event 1"])
        self.assertEqual((names(recorder, 0), len(recorder)), ([], 3))

    def test_fixed_length(self) -> None:
        recorder = Recorder(4)
        for number in range(11):
            recorder.record(NOW + number, f"event {number}", None, 1, "")
        self.assertEqual(names(recorder), ["event 10", "event 9", "event 8", "event 7"])
        self.assertEqual(len(recorder), 4)

    def test_none(self) -> None:
        recorder = Recorder(0)
        recorder.record(NOW, "event", None, 1, "")
        self.assertEqual((names(recorder), len(recorder)), ([], 0))

    def test_within_a_second(self) -> None:
        """What happens again within a second to the same peer is one event, at the place of the first."""
        recorder = Recorder(10)
        for after, name, peer in ((0, "a", "x"), (0.125, "b", "x"), (0.5, "a", "x"), (0.75, "a", "y"), (1.0, "a", "x")):
            recorder.record(NOW + after, name, peer, 2, "")
        told = [(event.seconds - NOW, event.name, event.peer, event.number) for event in recorder.newest(9)]
        self.assertEqual(told, [(1.0, "a", "x", 2), (0.75, "a", "y", 2), (0.125, "b", "x", 2), (0.0, "a", "x", 4)])

    def test_overwritten_meanwhile(self) -> None:
        """Of what has left the ring no other event is made greater."""
        recorder = Recorder(2)
        for name in ("a", "b", "c", "a"):
            recorder.record(NOW, name, None, 1, "")
        self.assertEqual([(event.name, event.number) for event in recorder.newest(9)], [("a", 1), ("c", 1)])

    def test_nothing_happened(self) -> None:
        recorder = Recorder(2)
        recorder.record(NOW, "a", None, 0, "")
        self.assertEqual(names(recorder), [])

    def test_flood(self) -> None:
        """Peers that somebody invents push nothing out but what they brought in the seconds before."""
        recorder = Recorder(4096)
        recorder.record(NOW, "before", "peer", 1, "")
        for second in range(1, 40):
            for peer in range(1000):
                recorder.record(NOW + second, "flood", f"{second} {peer}", 1, "")
        self.assertIn("before", names(recorder))
        self.assertEqual(sum(event.number for event in recorder.newest(10**9)), 1 + 39 * 1000)
        self.assertLessEqual(len(recorder), 1 + 39 * (MOST_A_SECOND + 1))

    def test_kept_is_plain(self) -> None:
        """Nothing is kept that holds more than its text, and texts are cut."""
        recorder = Recorder(2)
        facts = {"error": ValueError("odd" * 1000), "where": b"\x01\xff" * 1000, "share": 0.5, "none": None}
        recorder.record(NOW, "event", b"\xab" * 1000, 1, "{peer}: {error}, {where}, {share:.2f} {none}", facts)
        (event,) = recorder.newest(1)
        self.assertEqual({type(fact) for _, fact in event.facts}, {str, bytes, float, type(None)})
        self.assertLess(len(event.sentence), 1000)
        self.assertRegex(event.sentence, "^(ab){100}: odd.*odd.*, 01ff.*, 0.50 None$")

    def test_sentences(self) -> None:
        for text, peer, number, facts, sentence in (
            ("", None, 1, {}, ""),
            ("", None, 3, {}, "3 times"),
            ("", "somebody", 1, {}, "somebody"),
            ("", "somebody", 3, {}, "somebody, 3 times"),
            ("{number} call{s} of {peer}", b"\x01", 3, {}, "3 calls of 01"),
            ("{number} call{s} of {peer}", b"\x01", 1, {}, "1 call of 01"),
            ("{why}", "somebody", 1, {"why": "{braces} {0}"}, "{braces} {0}"),
            # The number is told, whatever digits the facts have.
            ("{peer} is late", "tcp://127.0.0.5:49153", 5, {}, "tcp://127.0.0.5:49153 is late, 5 times"),
            ("{why}", "somebody", 3, {"why": "{number} of 3"}, "{number} of 3, 3 times"),
        ):
            recorder = Recorder(1)
            recorder.record(NOW, "event", peer, number, text, facts)
            self.assertEqual(next(recorder.newest(1)).sentence, sentence)

    @given(
        st.integers(1, 8),
        st.lists(st.tuples(st.floats(0, 0.7), st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 3))),
    )
    def test_as_a_list_would_have_it(self, most: int, happened: list[tuple[float, str, str, int]]) -> None:
        """The ring is the end of the list of all events."""
        recorder = Recorder(most)
        listed: list[list[object]] = []
        recent: dict[tuple[str, str], int] = {}
        now, until = NOW, 0.0
        for pause, name, peer, number in happened:
            now += pause
            if now >= until:
                recent.clear()
                until = now + 1.0
            place = recent.get((name, peer))
            if place is not None and place >= len(listed) - most:
                listed[place][3] += number  # type: ignore[operator]
            else:
                recent[name, peer] = len(listed)
                listed.append([now, name, peer, number])
            recorder.record(now, name, peer, number, "")
        told = [[event.seconds, event.name, event.peer, event.number] for event in recorder.newest(10**9)]
        self.assertEqual(told, listed[: -most - 1 : -1])
