"""Which connections come to nothing, told from events that do not say all."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.handshakes import LONGEST, NOT_ZMTP, Failed, Handshakes

NOW = 1000.0


class HandshakesTests(SynchronousTestCase):
    def setUp(self):
        self.handshakes = Handshakes()

    def accept(self, *descriptors, caught_up=True):
        for descriptor in descriptors:
            self.handshakes.accepted(descriptor, f"peer {descriptor}", NOW)
        if caught_up:
            self.assertEqual(self.handshakes.caught_up(NOW), [])

    def open(self, times=1):
        for _ in range(times):
            self.assertEqual(self.handshakes.opened(), [])

    def test_opens_and_goes(self):
        self.accept(7)
        self.open()
        self.assertEqual((self.handshakes.ended(7), self.handshakes.unclear), ([], False))

    def test_speaks_something_else(self):
        self.accept(7)
        self.assertEqual(self.handshakes.ended(7), [Failed("peer 7", NOT_ZMTP)])

    def test_fails_for_a_reason(self):
        """The reason belongs to the end that follows it, whatever others are about."""
        self.accept(7, 8)
        self.open()
        self.handshakes.failed("because")
        self.assertEqual(self.handshakes.ended(7), [Failed("peer 7", "because")])
        self.assertEqual(self.handshakes.ended(8), [])

    def test_descriptor_is_used_again(self):
        """A descriptor that has another owner when it is asked says nothing about this one."""
        self.accept(7, caught_up=False)
        self.assertEqual(self.handshakes.ended(7), [Failed("", NOT_ZMTP)])
        self.accept(7)
        self.assertEqual(self.handshakes.ended(7), [Failed("peer 7", NOT_ZMTP)])

    def test_two_of_whom_one_opens(self):
        """Which one has failed is known when both are over: one; not who."""
        self.accept(7, 8)
        self.open()
        self.assertEqual((self.handshakes.ended(7), self.handshakes.unclear), ([], True))
        self.assertEqual(self.handshakes.ended(8), [Failed("", NOT_ZMTP)])
        self.assertFalse(self.handshakes.unclear)

    def test_both_open_after_all(self):
        self.accept(7, 8)
        self.open()
        self.assertEqual(self.handshakes.ended(7), [])
        self.open()
        self.assertEqual((self.handshakes.ended(8), self.handshakes.unclear), ([], False))

    def test_one_ends_before_the_other_opens(self):
        self.accept(7, 8)
        self.assertEqual(self.handshakes.ended(7), [Failed("peer 7", NOT_ZMTP)])
        self.open()
        self.assertEqual(self.handshakes.ended(8), [])

    def test_time_tells(self):
        """One that stands for longer than a handshake may take has opened; so the other one, which is gone, has not."""
        self.accept(7, 8)
        self.open()
        self.assertEqual(self.handshakes.ended(7), [])
        self.assertEqual(self.handshakes.caught_up(NOW + LONGEST - 0.1), [])
        self.assertEqual(self.handshakes.caught_up(NOW + LONGEST), [Failed("peer 7", NOT_ZMTP)])
        self.assertEqual(self.handshakes.ended(8), [])

    def test_time_is_wrong(self):
        """One that only seemed to stand, in a process that was stopped, is counted all the same, and no other."""
        self.accept(7, 8)
        self.open()
        self.assertEqual(self.handshakes.caught_up(NOW + LONGEST), [])
        self.handshakes.failed("too late")
        self.assertEqual(self.handshakes.ended(7), [Failed("", "too late")])
        self.assertEqual(self.handshakes.ended(8), [])
        self.accept(9)
        self.open()
        self.assertEqual(self.handshakes.ended(9), [])
        self.accept(9)
        self.assertEqual(self.handshakes.ended(9), [Failed("peer 9", NOT_ZMTP)])

    fates = st.tuples(
        st.sampled_from(["stays", "opens", "opens and ends", "fails", "speaks otherwise"]),
        st.floats(0, 3),
        st.floats(0, 1.9),
        st.floats(0, 10),
    )

    @settings(derandomize=True, max_examples=300)
    @given(st.lists(fates, max_size=25), st.integers(1, 5))
    def test_counts_what_has_failed(self, fates, every):
        """At no time more than have failed, in the end exactly those; and no name of one that has opened."""
        events: list[tuple[float, int, str]] = []
        begin = NOW
        for number, (fate, later, handshake, life) in enumerate(fates):
            begin += later
            events.append((begin, number, "accepted"))
            over = begin + handshake
            if fate in ("opens", "opens and ends"):
                events.append((over, number, "opened"))
            if fate == "opens and ends":
                events.append((over + life, number, "ended"))
            elif fate == "speaks otherwise":
                events.append((over, number, "ended"))
            elif fate in ("fails", "stays"):
                # One that stays silent is ended by ZeroMQ after two seconds.
                events.append((over if fate == "fails" else begin + 2, number, "failed"))
        failing = {number for number, fate in enumerate(fates) if fate[0] not in ("opens", "opens and ends")}
        handshakes, told, failed = Handshakes(), [], 0
        for count, (now, number, what) in enumerate(sorted(events, key=lambda event: event[0])):
            if what == "accepted":
                handshakes.accepted(number, f"peer {number}", now)
            elif what == "opened":
                told += handshakes.opened()
            else:
                if what == "failed":
                    handshakes.failed("because")
                told += handshakes.ended(number)
                failed += number in failing
            if count % every == 0:
                told += handshakes.caught_up(now)
            self.assertLessEqual(len(told), failed)
            names: list[Any] = [int(one.peer.split()[1]) for one in told if one.peer]
            self.assertLessEqual(set(names), failing)
            self.assertEqual(len(names), len(set(names)))
        told += handshakes.caught_up(begin + 100)
        self.assertEqual((len(told), handshakes.unclear), (len(failing), False))
