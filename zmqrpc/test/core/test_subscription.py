"""The state machine of one subscription: plain calls in, effects out; no reactor, no clock."""

from __future__ import annotations

from collections import deque
from itertools import count

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.keys import is_token, token_key, topic_key
from zmqrpc.core.subscription import (
    Close,
    Confirmed,
    Effect,
    Lost,
    Open,
    Subscribe,
    SubscriptionPhase,
    SubscriptionState,
    SubscriptionTimers,
    Unsubscribe,
)

NOW = 1000.0
A, B, C = (topic_key("x", name) for name in "abc")
TIMERS = SubscriptionTimers()


def token(number: int) -> bytes:
    return token_key(b"%016d" % number)


def make() -> SubscriptionState:
    numbers = count(1)
    return SubscriptionState(lambda: b"%016d" % next(numbers), lambda: 1.0)


def connecting(*filters: bytes) -> SubscriptionState:
    state = make()
    state.subscribe(filters, NOW)
    state.open(NOW)
    return state


def up(*filters: bytes) -> SubscriptionState:
    """Make a subscription that connected at NOW; its first token is not answered."""
    state = connecting(*filters)
    state.connected(NOW)
    return state


def confirmed(*filters: bytes) -> SubscriptionState:
    state = up(*filters)
    state.returned(token(1), NOW)
    return state


def backing_off(*filters: bytes) -> SubscriptionState:
    state = connecting(*filters)
    state.lost(NOW, "refused")
    return state


class EventTests(SynchronousTestCase):
    """What each event asks for in each phase."""

    def test_open(self):
        self.assertEqual(make().open(NOW), [Open(1)])
        for state in (connecting(A), up(A), confirmed(A), backing_off(A)):
            self.assertEqual(state.open(NOW), [], state.phase)

    def test_connected(self):
        self.assertEqual(connecting(B, A).connected(NOW), [Subscribe(B), Subscribe(A), Subscribe(token(1))])
        self.assertEqual(connecting().connected(NOW), [Subscribe(token(1))])
        for state in (make(), up(A), confirmed(A), backing_off(A)):
            self.assertEqual(state.connected(NOW), [], state.phase)

    def test_subscribe(self):
        for state in (make(), connecting(), backing_off()):
            self.assertEqual((state.subscribe([A], NOW), state.asked), ([], 1), state.phase)
        state = confirmed(A)
        self.assertEqual(state.subscribe([B, A, B, C], NOW), [Subscribe(B), Subscribe(C), Subscribe(token(2))])
        self.assertEqual((state.asked, state.confirmed, state.current), (2, 1, False))
        self.assertEqual((state.subscribe([A, C], NOW), state.asked), ([], 2))

    def test_unsubscribe(self):
        state = confirmed(A, B)
        self.assertEqual(state.unsubscribe([B, C, B]), [Unsubscribe(B)])
        self.assertEqual((state.asked, list(state.filters), state.current), (1, [A], True))
        for state in (connecting(A), backing_off(A)):
            self.assertEqual((state.unsubscribe([A]), list(state.filters)), ([], []))

    def test_returned(self):
        state = up(A)
        self.assertEqual(state.confirmed, -1)
        self.assertEqual(state.returned(token(9), NOW), [])
        self.assertEqual(state.returned(A, NOW), [])
        self.assertTrue(state.asks_by(token(1)))
        self.assertEqual(state.returned(token(1), NOW), [Unsubscribe(token(1)), Confirmed()])
        self.assertEqual((state.confirmed, state.current, state.asks_by(token(1))), (1, True, False))
        self.assertEqual(state.returned(token(1), NOW), [])

    def test_each_addition_has_its_token(self):
        """So whoever asked first is not kept waiting by those who go on to ask."""
        state = up(A)
        state.subscribe([B], NOW)
        self.assertEqual(state.returned(token(1), NOW), [Unsubscribe(token(1)), Confirmed()])
        self.assertEqual((state.confirmed, state.asked), (1, 2))
        self.assertEqual(state.returned(token(2), NOW), [Unsubscribe(token(2)), Confirmed()])
        self.assertTrue(state.current)

    def test_a_later_token_answers_for_those_before_it(self):
        state = up(A)
        state.subscribe([B], NOW)
        self.assertEqual(state.returned(token(2), NOW), [Unsubscribe(token(1)), Unsubscribe(token(2)), Confirmed()])
        self.assertTrue(state.current)

    def test_lost(self):
        for state in (connecting(A), up(A), confirmed(A)):
            self.assertEqual(state.lost(NOW, "gone"), [Close(), Lost("gone")])
            self.assertEqual((state.phase, state.confirmed, state.trouble), (SubscriptionPhase.BACKOFF, -1, "gone"))
        for state in (make(), backing_off(A)):
            self.assertEqual(state.lost(NOW, "gone"), [])

    def test_nothing_of_an_old_connection_is_taken_for_the_new(self):
        state = up(A)
        state.lost(NOW, "gone")
        state.tick(state.wake_at)
        state.connected(NOW + 1)
        self.assertEqual(state.returned(token(1), NOW + 1), [])
        self.assertEqual(state.returned(token(2), NOW + 1), [Unsubscribe(token(2)), Confirmed()])

    def test_close(self):
        for state in (make(), connecting(A), up(A), confirmed(A), backing_off(A)):
            self.assertEqual(state.close(), [Close()])
            self.assertEqual((state.phase, state.wake_at, state.lost(NOW, "gone")), (SubscriptionPhase.IDLE, NEVER, []))
            self.assertEqual(state.open(NOW + 9), [Open(state.attempt)])


class TimeTests(SynchronousTestCase):
    def test_nothing_is_due_before(self):
        for state in (connecting(A), up(A), confirmed(A), backing_off(A)):
            self.assertEqual(state.tick(state.wake_at - 0.001), [], state.phase)

    def test_not_connected_in_time(self):
        state = connecting(A)
        self.assertEqual(state.wake_at, NOW + 2)
        effects = state.tick(NOW + 2)
        self.assertEqual(effects[0], Close())
        self.assertIn("not connected within 2 s", state.trouble)

    def test_silence(self):
        state = confirmed(A)
        state.heard_at = NOW + 5
        self.assertEqual(state.wake_at, NOW + 8)
        self.assertEqual((state.tick(NOW + 8), state.wake_at), ([], NOW + 8.1))
        self.assertEqual(state.tick(NOW + 8.1), [Close(), Lost("heard nothing of any filter for 3 s")])

    def test_silence_of_ours(self):
        """After a method that has blocked for a little longer than that, what came meanwhile is read first."""
        state = confirmed(A)
        for seconds in (3.0, 3.1, 3.3, 3.49):
            now = state.heard_at + seconds
            # The first turn of the reactor after the block: timers come before what is to be read.
            self.assertEqual((state.tick(now), state.tick(now + 0.09)), ([], []))
            state.heard_at = now
            self.assertEqual((state.tick(now), state.wake_at), ([], now + 3))

    def test_silence_before_the_first_answer(self):
        state = up(A)
        self.assertEqual(state.tick(NOW + 3), [])
        self.assertEqual(state.tick(NOW + 3.1), [Close(), Lost("heard nothing of its subscriptions for 3 s")])

    def test_without_a_filter_silence_means_nothing(self):
        state = confirmed()
        self.assertEqual(state.wake_at, NEVER)
        state.subscribe([A], NOW + 100)
        self.assertEqual(state.wake_at, NOW + 103)

    def test_a_token_that_was_dropped_is_asked_again(self):
        """A publisher drops what a full connection does not take, and other things go on to come."""
        state = up(A)
        state.heard_at = NOW + 2
        self.assertEqual(state.tick(NOW + 3), [Unsubscribe(token(1)), Subscribe(token(2))])
        self.assertEqual(state.returned(token(2), NOW + 3), [Unsubscribe(token(2)), Confirmed()])

    def test_who_did_not_read_does_not_judge(self):
        state = confirmed(A)
        self.assertEqual((state.tick(NOW + 60), state.phase, state.wake_at), ([], SubscriptionPhase.UP, NOW + 61))
        self.assertEqual(state.tick(NOW + 61), [])
        self.assertEqual(state.tick(NOW + 61.1)[0], Close())
        state = connecting(A)
        self.assertEqual((state.tick(NOW + 60), state.wake_at), ([], NOW + 61))
        self.assertEqual(state.tick(NOW + 61)[0], Close())
        state = up(A)
        self.assertEqual((state.tick(NOW + 60), state.wake_at), ([], NOW + 61))

    def test_back_off(self):
        """It grows, up to what lets a publisher that is back be found within two seconds."""
        state, now, waits = connecting(A), NOW, []
        for _ in range(7):
            state.lost(now, "refused")
            waits.append(round(state.wake_at - now, 6))
            now = state.wake_at
            self.assertEqual(state.tick(now)[0], Open(state.attempt))
        self.assertEqual(waits, [0.1, 0.2, 0.4, 0.8, 1.5, 1.5, 1.5])
        state.connected(now)
        state.returned(token(1), now)
        state.lost(now + 0.5, "left as soon as it had answered")
        self.assertEqual(state.wake_at, now + 0.5 + 1.5)
        now = state.wake_at
        state.tick(now)
        state.connected(now)
        state.returned(token(2), now)
        state.lost(now + 1, "left")
        self.assertAlmostEqual(state.wake_at, now + 1.1)


class _Publisher:
    """A publisher that takes subscriptions in the order they were made, and the socket that leads to it."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.is_open = False
        self.sent: deque[Effect] = deque()
        self.answers: deque[bytes] = deque()
        self.filters: set[bytes] = set()

    def perform(self, effects: list[Effect]) -> bool:
        """Do what is asked for; return whether something was confirmed."""
        for effect in effects:
            if isinstance(effect, Open):
                self.test.assertFalse(self.is_open)
                self.is_open = True
            elif isinstance(effect, Close):
                self.is_open = False
                self.sent.clear()
                self.answers.clear()
                self.filters.clear()
            elif isinstance(effect, (Subscribe, Unsubscribe)):
                self.test.assertTrue(self.is_open)
                self.sent.append(effect)
        return Confirmed() in effects

    def take(self) -> None:
        """Take the next subscription that has arrived."""
        if self.sent:
            effect = self.sent.popleft()
            if isinstance(effect, Subscribe):
                if is_token(effect.filter):
                    self.answers.append(effect.filter)
                self.filters.add(effect.filter)
            elif isinstance(effect, Unsubscribe):
                self.test.assertIn(effect.filter, self.filters)
                self.filters.remove(effect.filter)


EVENTS = st.one_of(
    st.tuples(st.just("subscribe"), st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3)),
    st.tuples(st.just("unsubscribe"), st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3)),
    st.tuples(st.sampled_from(("connect", "lose", "take", "answer", "drop", "close", "open")), st.none()),
    st.tuples(st.just("wait"), st.sampled_from((0.05, 0.4, 1.0, 3.0, 9.0))),
)


class PropertyTests(SynchronousTestCase):
    @given(st.lists(EVENTS, max_size=60))
    @example(
        [
            *(("open", None), ("connect", None), ("subscribe", {"a"}), ("unsubscribe", {"a"}), ("subscribe", {"a"})),
            *(("take", None) for _ in range(4)),
            *(("answer", None) for _ in range(2)),
        ]
    )
    @settings(max_examples=300)
    def test_what_is_confirmed_is_in_place(self, events: list[tuple[str, object]]) -> None:
        """Whatever happens; and in the end, with a publisher that answers, everything is."""
        state, publisher, now = make(), _Publisher(self), NOW
        snapshots = {0: set[bytes]()}

        def perform(effects: list[Effect]) -> None:
            if publisher.perform(effects):
                there = snapshots[state.confirmed] & set(state.filters)
                self.assertLessEqual(there, publisher.filters)

        def step(event: str, value: object) -> None:
            nonlocal now
            names = [topic_key("x", name) for name in sorted(value)] if isinstance(value, set) else []
            if event == "subscribe":
                perform(state.subscribe(names, now))
                snapshots[state.asked] = set(state.filters)
            elif event == "unsubscribe":
                perform(state.unsubscribe(names))
                # Who asks for it anew is served by a later confirmation.
                for snapshot in snapshots.values():
                    snapshot.difference_update(names)
            elif event == "connect" and publisher.is_open:
                perform(state.connected(now))
            elif event == "lose" and publisher.is_open:
                perform(state.lost(now, "lost"))
            elif event == "take":
                publisher.take()
            elif event == "answer" and publisher.answers:
                state.heard_at = now
                perform(state.returned(publisher.answers.popleft(), now))
            elif event == "drop" and publisher.answers:
                publisher.answers.popleft()
            elif event == "close":
                perform(state.close())
            elif event == "open":
                perform(state.open(now))
            elif isinstance(value, float):
                until = now + value
                while state.wake_at <= until:
                    now = max(now, state.wake_at)
                    perform(state.tick(now))
                    self.assertGreater(state.wake_at, now)
                now = until

        for event, value in events:
            step(event, value)
        step("open", None)
        for _ in range(40):
            step("connect", None)
            while publisher.sent or publisher.answers:
                step("take", None)
                step("answer", None)
            state.heard_at = now
            step("wait", 0.5)
        self.assertTrue(state.current)
        self.assertEqual(publisher.filters, set(state.filters))
