"""When our records are stored, refreshed and withdrawn."""

from __future__ import annotations

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.registration import (
    RETRY_FIRST,
    RETRY_MOST,
    UNSEEN_FIRST,
    UNSEEN_MOST,
    Effect,
    Register,
    Registration,
    Withdraw,
)
from zmqrpc.core.restoration import RESTORE_FIRST, RESTORE_MOST, STEADY
from zmqrpc.record import Record, Role

NOW = 1000.0
EXPIRE, UPDATE = 300.0, 180.0


def make_record(name: str, address: str = "tcp://10.0.0.1:1") -> Record:
    return Record(Role.SERVER, "x", "compute", name, "f" * 32, (address,))


A, B, C = (make_record(name) for name in "abc")


def make_registration(jitter: float = 1.0) -> Registration:
    return Registration(EXPIRE, UPDATE, lambda: jitter)


def stored(*records: Record) -> Registration:
    """Make a registration whose records were stored, and shown, at NOW."""
    registration = make_registration()
    registration.set_records(records)
    registration.succeeded(NOW)
    for exchange, topic in {(record.exchange, record.topic) for record in records}:
        registration.shown(exchange, topic, records, NOW)
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
            registration.shown("x", "compute", (A,), NOW)
            self.assertAlmostEqual(registration.wake_at - NOW, wait)
            self.assertEqual(registration.tick(registration.wake_at - 0.001), [])
            self.assertEqual(registration.tick(registration.wake_at), [Register((A,), EXPIRE)])
            self.assertEqual((registration.current, registration.wake_at), (True, NEVER))

    def test_a_failure_is_tried_again_later_and_later(self):
        """The longer it has failed, the longer it is put off; what has worked begins anew."""
        for jitter in (0.5, 1.0):
            registration = make_registration(jitter)
            registration.set_records((A,))
            registration.succeeded(NOW)
            for _ in range(2):
                for passed, wait in ((0, 0.25), (5, 0.25), (20, 1), (100, 5), (200, 10), (10**6, 10)):
                    registration._refresh_at = NOW + passed
                    registration.tick(NOW + passed)
                    self.assertEqual(registration.failed(NOW + passed), [])
                    self.assertFalse(registration.current)
                    self.assertAlmostEqual(registration.wake_at - NOW - passed, wait * jitter)
                self.assertEqual(registration.failures, 6)
                self.assertEqual(registration.tick(registration.wake_at), [Register((A,), EXPIRE)])
                registration.succeeded(NOW + 10**6)
                self.assertEqual((registration.failures, registration.current), (0, True))

    def test_a_store_that_is_slow_is_given_time(self):
        """It may be slow because so many try again and again."""
        registration = stored(A)
        due = registration.wake_at
        registration.tick(due)
        registration.failed(due + 1)
        self.assertAlmostEqual(registration.wake_at - due, 1 + 4)
        registration.tick(due + 5)
        registration.failed(due + 5)
        self.assertAlmostEqual(registration.wake_at - due, 5.25)

    def test_a_crowd_tries_less_often(self):
        """One of five hundred tries as often as all of them take to have a turn each."""
        registration = stored(A)
        registration.shown("x", "compute", [make_record(str(number)) for number in range(300)] + [A], NOW)
        registration.tick(registration.wake_at)
        registration.failed(NOW)
        self.assertAlmostEqual(registration.wake_at - NOW, 3.01)

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


class LossTests(SynchronousTestCase):
    """What a watch of our topics shows, and what follows when it shows that the store has lost our records."""

    def shown(self, registration: Registration, *records: Record, now: float = NOW, topic: str = "compute") -> bool:
        return registration.shown("x", topic, records, now)

    def waits(self, registration: Registration, now: float = NOW) -> float | None:
        """Return the seconds until the next registration, None for the time of the next refresh."""
        wait = registration.wake_at - now
        return None if wait > RESTORE_MOST else wait

    def test_rows(self):
        other = Record(Role.SERVER, "x", "compute", "a", "e" * 32, ("tcp://10.0.0.9:1",))
        moved = make_record("a", "tcp://10.0.0.2:2")
        # our records, what is shown, whether something is lost
        rows = [
            ((A,), (A,), False),
            ((A,), (), True),
            ((A,), (other,), True),  # of our name, and another instance
            ((A,), (other, A), False),
            ((A,), (moved,), False),  # as it was before it changed: the entry is there
            ((A, B), (A, B, C), False),
            ((A, B), (B,), True),
            ((), (), False),
        ]
        for ours, records, lost in rows:
            registration = stored(*ours)
            self.assertEqual(self.shown(registration, *records), lost, f"{ours} and {records}")
            self.assertEqual(self.waits(registration), RESTORE_FIRST if lost else None)

    def test_what_is_lost_is_stored_again_a_little_out_of_step(self):
        for jitter in (0.5, 1.0):
            registration = make_registration(jitter)
            registration.set_records((A, B))
            registration.succeeded(NOW)
            self.shown(registration, A)
            self.assertAlmostEqual(registration.wake_at - NOW, RESTORE_FIRST * jitter)
            self.assertEqual(registration.tick(registration.wake_at - 0.001), [])
            self.assertEqual(registration.tick(registration.wake_at), [Register((A, B), EXPIRE)])

    def test_only_its_beginning_is_a_discovery(self):
        registration = stored(A, B)
        self.assertEqual([self.shown(registration, *records) for records in ((A,), (), (A,))], [True, False, False])
        self.assertFalse(self.shown(registration, A, B))
        self.assertTrue(self.shown(registration))

    def test_what_others_do_meanwhile_does_not_put_it_off(self):
        registration = stored(A)
        for later in (0.0, 0.1, 0.2):
            self.shown(registration, B, now=NOW + later)
        self.assertEqual(self.waits(registration), RESTORE_FIRST)

    def test_what_is_back_by_itself_is_left_to_the_refresh(self):
        registration = stored(A)
        refresh = registration.wake_at
        self.shown(registration)
        self.shown(registration, A)
        self.assertEqual(registration.wake_at, refresh)

    def test_each_topic_counts(self):
        other = Record(Role.SERVER, "x", "other", "a", "f" * 32, ("tcp://10.0.0.1:1",))
        registration = stored(A, other)
        self.shown(registration)
        self.shown(registration, other, topic="other")
        self.assertEqual(self.waits(registration), RESTORE_FIRST)
        self.shown(registration, A)
        self.assertIsNone(self.waits(registration))
        self.shown(registration, topic="other")
        self.assertEqual(self.waits(registration), RESTORE_FIRST)
        self.shown(registration, topic="elsewhere")
        self.shown(registration, other, topic="other")
        self.assertIsNone(self.waits(registration))

    def test_a_doubt_of_ours_is_no_record_of_ours(self):
        """Neither is it missing, nor does it stand for what is."""
        doubt = attrs.evolve(A, role=Role.DOUBT, reason="refused")
        registration = stored(A)
        self.assertFalse(self.shown(registration, A, doubt))
        self.assertIsNone(self.waits(registration))
        self.assertTrue(self.shown(registration, doubt))
        self.assertEqual(self.waits(registration), RESTORE_FIRST)

    def test_what_we_withdrew_is_not_lost(self):
        registration = stored(A, B)
        registration.set_records((B,))
        registration.succeeded(NOW)
        self.assertFalse(self.shown(registration, B))
        registration.stop()
        self.assertFalse(self.shown(registration))
        self.assertEqual(registration.wake_at, NEVER)

    def test_a_stop_ends_the_restoration(self):
        registration = stored(A)
        self.shown(registration)
        registration.stop()
        self.assertEqual((registration.wake_at, registration.tick(NOW + 1e6)), (NEVER, []))

    def test_nothing_is_missing_while_it_is_on_its_way(self):
        for shows in ((A,), (B, A)):
            registration = make_registration()
            registration.set_records((A,))
            self.assertFalse(self.shown(registration))
            self.assertEqual(registration.wake_at, NEVER)
            self.shown(registration, *shows)
            registration.succeeded(NOW)
            self.assertIsNone(self.waits(registration))

    def test_what_was_lost_on_its_way_is_looked_for_afterwards(self):
        registration = make_registration()
        registration.set_records((A,))
        self.shown(registration)
        registration.succeeded(NOW)
        self.assertEqual(self.waits(registration), RESTORE_FIRST)
        self.shown(registration, A)
        self.assertIsNone(self.waits(registration))

    def test_what_was_shown_before_a_registration_says_nothing_after_it(self):
        # The watch may be slow, or have ended without a word.
        registration = stored(A)
        self.shown(registration)
        registration.tick(registration.wake_at)
        registration.succeeded(NOW)
        self.assertEqual(self.waits(registration), UNSEEN_FIRST)

    def test_a_failure_is_tried_again_sooner_when_the_store_shows_that_it_lives(self):
        registration = stored(A)
        registration.tick(registration.wake_at)
        registration.failed(NOW - 10**6)
        registration.tick(NOW)
        registration.failed(NOW)
        self.assertEqual(registration.wake_at - NOW, RETRY_MOST)
        self.assertFalse(self.shown(registration), "what was not stored is not lost")
        self.assertEqual(self.waits(registration), RESTORE_FIRST)

    def test_what_is_lost_again_before_it_was_shown(self):
        """The store looks as before then, and nobody tells of it: what was not shown is stored again after a while."""
        registration = stored(A)
        self.shown(registration, A)
        self.shown(registration, now=NOW + 5)
        now = registration.wake_at
        registration.tick(now)
        registration.succeeded(now)
        self.assertEqual((registration.lacking, registration.current), (False, True))
        waits = []
        for _ in range(6):
            waits.append(registration.wake_at - now)
            now = registration.wake_at
            self.assertEqual(registration.tick(now), [Register((A,), EXPIRE)])
            registration.succeeded(now)
        self.assertEqual([round(wait, 3) for wait in waits], [2, 4, 8, 16, 20, 20])
        self.shown(registration, A, now=now)
        self.assertAlmostEqual(registration.wake_at - now, UPDATE)

    def test_a_record_that_is_new_has_to_be_shown_too(self):
        """A failover may lose it and nothing else: then the store shows what it has shown before."""
        registration = stored(A)
        self.shown(registration, A)
        registration.set_records((A, B))
        registration.succeeded(NOW)
        self.assertEqual(registration.wake_at - NOW, UNSEEN_FIRST)
        self.shown(registration, A, B)
        self.assertEqual(registration.wake_at - NOW, UPDATE)

    def test_what_was_not_shown_yet_is_stored_again_out_of_step(self):
        for jitter in (0.5, 1.0):
            registration = make_registration(jitter)
            registration.set_records((A,))
            registration.succeeded(NOW)
            self.assertEqual(registration.wake_at - NOW, UNSEEN_FIRST * jitter)

    def test_many_wait_longer_until_what_was_not_shown_is_stored_again(self):
        """Lists of many are shown late."""
        for count, seconds in ((100, 4), (450, 18)):
            registration = stored(A)
            self.shown(registration, *(attrs.evolve(B, member=f"m{number}") for number in range(count)))
            registration.tick(registration.wake_at)
            registration.succeeded(NOW)
            self.assertEqual(round(registration.wake_at - NOW, 3), seconds)

    def test_what_names_no_instance_is_not_watched(self):
        """It is a line of a fixed table."""
        registration = stored(attrs.evolve(A, instance=""))
        self.assertEqual(registration.wake_at - NOW, UPDATE)

    def test_whoever_goes_on_removing_it_makes_us_patient(self):
        registration = stored(A)
        now, waits = NOW, []
        for _ in range(9):
            self.shown(registration, now=now)
            waits.append(registration.wake_at - now)
            now = registration.wake_at
            self.assertEqual(registration.tick(now), [Register((A,), EXPIRE)])
            self.shown(registration, A, now=now)
            registration.succeeded(now)
        self.assertEqual([round(wait, 3) for wait in waits], [0.25, 0.5, 1, 2, 4, 8, 10, 10, 10])
        # What stays for a while is lost for the first time again.
        self.shown(registration, now=now + STEADY)
        self.assertEqual(round(registration.wake_at - now - STEADY, 3), RESTORE_FIRST)
        self.shown(registration, A, now=now + STEADY)
        # After a refresh of its own time it is as before.
        registration.tick(registration.wake_at)
        registration.succeeded(NOW)
        self.shown(registration)
        self.assertEqual(self.waits(registration), RESTORE_FIRST)


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


D = attrs.evolve(A, topic="network")
TOPICS = ("compute", "network")

RECORDS = st.sampled_from(((A,), (A, B), (B, C), (A, D), (A, B, C, D), ()))
USUAL = (("lose", (A, B, C, D)), ("show", None), ("refresh", True))

STEPS = st.one_of(
    st.sampled_from(USUAL),
    st.sampled_from(USUAL),
    st.one_of(
        st.tuples(st.just("set"), RECORDS),
        st.tuples(st.just("lose"), st.sampled_from(((A,), (B,), (D,)))),
        st.tuples(st.just("wait"), st.floats(0, 30)),
        st.tuples(st.sampled_from(("look", "tell")), st.sampled_from(TOPICS)),
        st.sampled_from((("refresh", False), ("answer", True), ("answer", False), ("tick", None))),
    ),
)
"""What may happen, and most often what matters."""


class Stored:
    """
    A store that does what it is told in order, fails at any time, half done, and loses anything; and watches of it.

    A watch tells what it has found at a look, where that is different from what it has told last. It begins with the
    first record of a topic, and ends with the last.
    """

    def __init__(self, case, jitter):
        self.now = NOW
        self.registration = make_registration(jitter)
        self.under_way: list[Register] = []
        self.lost = False
        self._case = case
        self._records: dict[object, Record] = {}
        self._found: dict[str, list[Record]] = {}
        self._told: dict[str, list[Record]] = {}

    @property
    def right(self):
        """Whether it has what it should."""
        return set(self._records.values()) == set(self.registration.records)

    def set(self, records):
        self._perform(self.registration.set_records(records))
        for topic in {*TOPICS} - {record.topic for record in records}:
            self._found.pop(topic, None)
            self._told.pop(topic, None)

    def lose(self, records):
        for record in records:
            self.lost = self._records.pop(record.key, None) is not None or self.lost

    def wait(self, seconds):
        self.now += seconds

    def look(self, topic):
        if any(record.topic == topic for record in self.registration.records):
            self._found[topic] = sorted((r for r in self._records.values() if r.topic == topic), key=lambda r: r.key)

    def tell(self, topic):
        found = self._found.get(topic)
        if found is not None and found != self._told.get(topic):
            self._told[topic] = found
            self.registration.shown("x", topic, found, self.now)

    def answer(self, well):
        if self.under_way:
            done = self.under_way.pop()
            for record in done.records[: None if well else 1]:
                self._records[record.key] = record
            self._perform(self.registration.succeeded(self.now) if well else self.registration.failed(self.now))

    def tick(self, _=None):
        if self.registration.wake_at < NEVER:
            self.now = max(self.now, self.registration.wake_at)
            self._perform(self.registration.tick(self.now))

    def refresh(self, well):
        self.tick()
        self.answer(well)

    def show(self, _=None):
        for topic in TOPICS:
            self.look(topic)
            self.tell(topic)

    def settle(self):
        """Do at once what a store and a watch that work do."""
        while self.under_way:
            self.answer(True)
        self.show()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Register):
                self._case.assertEqual(self.under_way, [])
                self.under_way.append(effect)
            else:
                for record in effect.records:
                    self._case.assertNotIn(record, self.registration.records)
                    self._records.pop(record.key, None)


class StoreTests(SynchronousTestCase):
    @settings(derandomize=True, max_examples=300)
    @given(RECORDS, st.lists(STEPS, min_size=8, max_size=40), st.floats(0.5, 1))
    @example(
        (A,), [("refresh", True), ("show", None), ("lose", (A,)), ("show", None), ("refresh", True), ("lose", (A,))], 1
    )
    @example((A, B), [("answer", True), ("show", None), ("set", (A,)), ("answer", True), ("set", (A, B))], 1)
    def test_in_the_end_the_store_has_what_it_should(self, records, steps, jitter):
        """
        Whatever it lost, and whatever was told of it: not for long after it has lost and failed for the last time.

        One Register is under way at a time, and `current` is never true while the store has something else than what it
        was left with. What costs more than the refreshes ends with the last loss.
        """
        store = Stored(self, jitter)
        for step, what in [("set", records), *steps]:
            getattr(store, step)(what)
            store.lost = store.lost and not store.right
            current = store.registration.current
            self.assertTrue(store.right or store.lost or store.under_way or not current)
        store.settle()
        calm = store.now
        while not (store.right and store.registration.current):
            store.tick()
            store.settle()
            self.assertLessEqual(store.now, calm + UNSEEN_MOST)
        store.tick()
        store.settle()
        if store.registration.records:
            self.assertGreaterEqual(store.registration.wake_at, store.now + 0.8 * UPDATE)
