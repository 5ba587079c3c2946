"""When our records are stored, refreshed and withdrawn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.registration import RETRY_FIRST, RETRY_MOST, Effect, Register, Registration, Withdraw
from zmqrpc.record import Record, Role

NOW = 1000.0
NEVER = float("inf")
EXPIRE, UPDATE = 300.0, 180.0


def make_record(name: str, address: str = "tcp://10.0.0.1:1") -> Record:
    return Record(Role.SERVER, "x", "compute", name, "f" * 32, (address,))


A, B, C = (make_record(name) for name in "abc")


def make_registration(jitter: float = 1.0) -> Registration:
    return Registration(EXPIRE, UPDATE, lambda: jitter)


def stored(*records: Record) -> Registration:
    """Make a registration whose records were stored at NOW."""
    registration = make_registration()
    registration.set_records(records)
    registration.succeeded(NOW)
    return registration


class RegistrationTests(SynchronousTestCase):
    def test_nothing_to_store_is_current(self):
        registration = make_registration()
        self.assertEqual((registration.current, registration.wake_at, registration.records), (True, NEVER, ()))
        self.assertEqual(registration.tick(NOW), [])
        self.assertEqual(registration.set_records(()), [])
        self.assertTrue(registration.current)

    def test_records_are_stored_at_once(self):
        registration = make_registration()
        self.assertEqual(registration.set_records((A, B)), [Register((A, B), EXPIRE)])
        self.assertEqual((registration.current, registration.wake_at), (False, NEVER))
        self.assertEqual(registration.succeeded(NOW), [])
        self.assertEqual((registration.current, registration.records), (True, (A, B)))

    def test_a_refresh_comes_in_time_and_out_of_step(self):
        for jitter, wait in ((0.5, 0.8 * UPDATE), (0.75, 0.9 * UPDATE), (1.0, UPDATE)):
            registration = make_registration(jitter)
            registration.set_records((A,))
            registration.succeeded(NOW)
            self.assertAlmostEqual(registration.wake_at - NOW, wait)
            self.assertEqual(registration.tick(registration.wake_at - 0.001), [])
            self.assertEqual(registration.tick(registration.wake_at), [Register((A,), EXPIRE)])
            self.assertEqual((registration.current, registration.wake_at), (True, NEVER))

    def test_a_failure_is_tried_again_later_and_later(self):
        for jitter in (0.5, 1.0):
            registration = make_registration(jitter)
            registration.set_records((A,))
            now = NOW
            for failures, longest in enumerate((0.25, 0.5, 1, 2, 4, 8, 10, 10), 1):
                self.assertEqual(registration.failed(now), [])
                self.assertEqual((registration.failures, registration.current), (failures, False))
                self.assertAlmostEqual(registration.wake_at - now, longest * jitter)
                now = registration.wake_at
                self.assertEqual(registration.tick(now), [Register((A,), EXPIRE)])
            registration.succeeded(now)
            self.assertEqual((registration.failures, registration.current), (0, True))

    def test_no_number_of_failures_overflows(self):
        registration = make_registration()
        registration.set_records((A,))
        for _ in range(2000):
            registration.failed(NOW)
            registration.tick(registration.wake_at)
        self.assertEqual((RETRY_FIRST, RETRY_MOST), (0.25, 10.0))

    def test_a_failed_refresh_is_not_current(self):
        registration = stored(A)
        registration.tick(registration.wake_at)
        registration.failed(NOW)
        self.assertFalse(registration.current)

    def test_a_refresh_may_be_asked_for(self):
        registration = stored(A)
        self.assertEqual(registration.refresh(), [Register((A,), EXPIRE)])
        self.assertEqual(registration.refresh(), [])
        self.assertEqual(registration.succeeded(NOW), [Register((A,), EXPIRE)])
        self.assertEqual(make_registration().refresh(), [])


class ReplacementTests(SynchronousTestCase):
    def test_what_is_gone_is_withdrawn_and_the_rest_stored(self):
        self.assertEqual(stored(A, B).set_records((B, C)), [Withdraw((A,)), Register((B, C), EXPIRE)])

    def test_a_record_that_changed_is_stored_and_not_withdrawn(self):
        moved = make_record("a", "tcp://10.0.0.2:2")
        self.assertEqual(stored(A).set_records((moved,)), [Register((moved,), EXPIRE)])

    def test_while_one_is_under_way_the_next_waits(self):
        for answer in ("succeeded", "failed"):
            registration = make_registration()
            registration.set_records((A,))
            self.assertEqual(registration.set_records((A, B)), [])
            self.assertEqual(getattr(registration, answer)(NOW), [Register((A, B), EXPIRE)])
            self.assertFalse(registration.current)
            self.assertEqual(registration.succeeded(NOW), [])
            self.assertTrue(registration.current)

    def test_what_is_under_way_is_withdrawn_after_it_as_well(self):
        for answer in ("succeeded", "failed"):
            registration = make_registration()
            registration.set_records((A, B))
            self.assertEqual(registration.set_records((B,)), [Withdraw((A,))])
            self.assertEqual(getattr(registration, answer)(NOW), [Withdraw((A,)), Register((B,), EXPIRE)])

    def test_what_came_back_meanwhile_is_not_withdrawn(self):
        registration = make_registration()
        registration.set_records((A, B))
        registration.set_records((A,))
        registration.set_records((A, B))
        self.assertEqual(registration.succeeded(NOW), [Register((A, B), EXPIRE)])


class StopTests(SynchronousTestCase):
    def test_everything_is_withdrawn_and_nothing_stored_any_more(self):
        registration = stored(A, B)
        self.assertEqual(registration.stop(), [Withdraw((A, B))])
        self.assertEqual((registration.current, registration.wake_at), (True, NEVER))
        self.assertEqual(registration.tick(NOW + 1e6), [])
        self.assertEqual(registration.stop(), [])

    def test_a_stop_between_failures(self):
        registration = make_registration()
        registration.set_records((A,))
        registration.failed(NOW)
        self.assertEqual(registration.stop(), [Withdraw((A,))])
        self.assertEqual((registration.current, registration.tick(NOW + 1e6)), (True, []))

    def test_what_was_under_way_is_withdrawn_after_it_as_well(self):
        for answer in ("succeeded", "failed"):
            registration = make_registration()
            registration.set_records((A,))
            self.assertEqual(registration.stop(), [Withdraw((A,))])
            self.assertTrue(registration.current)
            self.assertEqual(getattr(registration, answer)(NOW), [Withdraw((A,))])
            self.assertEqual((registration.current, registration.wake_at), (True, NEVER))


STEPS = st.one_of(
    st.tuples(st.just("set"), st.lists(st.sampled_from((A, B, C)), unique=True).map(tuple)),
    st.sampled_from((("refresh", ()), ("answer", True), ("answer", False), ("tick", ()))),
)


class StoreTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.lists(STEPS, max_size=30), st.floats(0.5, 1))
    def test_in_the_end_the_store_has_what_it_should(self, steps, jitter):
        """
        Against a store that does what it is told in order, or fails at any time, half done.

        One Register is under way at a time, and `current` is never true while the store has something else.
        """
        registration = make_registration(jitter)
        store: dict[object, Record] = {}
        under_way: list[Register] = []
        now = NOW

        def perform(effects: list[Effect]) -> None:
            for effect in effects:
                if isinstance(effect, Register):
                    self.assertEqual(under_way, [])
                    under_way.append(effect)
                else:
                    for record in effect.records:
                        self.assertNotIn(record, registration.records)
                        store.pop(record.key, None)

        def answer(well: bool) -> None:
            done = under_way.pop()
            for record in done.records[: None if well else 1]:
                store[record.key] = record
            perform(registration.succeeded(now) if well else registration.failed(now))

        for step, what in [*steps, *[("tick", ()), ("answer", True)] * 4]:
            if step == "set":
                perform(registration.set_records(what))
            elif step == "refresh":
                perform(registration.refresh())
            elif step == "answer" and under_way:
                answer(what)
            elif step == "tick" and registration.wake_at < NEVER:
                now = registration.wake_at
                perform(registration.tick(now))
            if registration.current and not under_way:
                self.assertEqual(set(store.values()), set(registration.records))
        self.assertTrue(registration.current)
