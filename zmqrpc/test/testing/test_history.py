"""The judge of histories: each rule with what keeps it and what breaks it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import (
    Cancelled,
    DeadlineExceeded,
    Journey,
    NoRoute,
    NoSuchMethod,
    Overloaded,
    RemoteError,
    ServerLost,
)
from zmqrpc.members import Answer, Reached
from zmqrpc.settings import Settings
from zmqrpc.testing import History
from zmqrpc.testing.judge import KNOWN_AGAIN, MOST_RUNS, most_runs

INFO = ServerLost("gone", maybe_executed=True)
SENT = ServerLost("gone", Journey("work", message_id="cccc/aa/7"), maybe_executed=True)
"""To instance aaaa."""

RAN = ServerLost("its answer is gone", did_run=True)
FAIL = NoRoute("nobody")
OK = ...
"""The answer of the first execution."""

A, B = ("a", "aaaa"), ("b", "bbbb")


class JudgeCase(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.history = History(self.clock.seconds)
        self.number = 0

    def asked(self, kind, ran, outcome, *, until=2.0, at=1.0, **options):
        """Write down one thing that was asked for five seconds, what ran a second later, and what was told."""
        self.number += 1
        options.setdefault("timeout", 5)
        self.history.invoke(self.number, "client", kind, **options)
        self.clock.advance(at)
        answers = [self.history.ran(self.number, *where) for where in ran]
        self.clock.advance(until - at)
        if outcome is OK:
            outcome = answers[0] if kind == "call" and answers else None
        if outcome is not None or kind != "never":
            self.history.ended(self.number, outcome)

    def faults(self, **options):
        """Return the fault of each violation."""
        return [violation.partition(":")[0] for violation in self.history.violations(**options)]

    def check(self, kind, ran, outcome, *faults, **options):
        """Judge a history of one case."""
        self.history.events.clear()
        self.number = 0
        self.asked(kind, ran, outcome, **options)
        self.assertEqual(self.faults(), list(faults), (kind, ran, outcome))


class CallTests(JudgeCase):
    def test_result(self):
        self.check("call", [A], OK)
        self.check("call", [], [1, "aaaa"], "said to be done, and did not run", "a wrong result")
        self.check("call", [A, A], OK, "ran more than once at one instance")
        self.check("call", [A, B], OK, "ran at more than one instance")

    def test_idempotent(self):
        self.check("call", [A, B], OK, idempotent=True)
        self.check("call", [A, A], OK, idempotent=True)
        self.check("call", [], [1, "aaaa"], "said to be done, and did not run", "a wrong result", idempotent=True)
        self.check("fanout", [A, A], INFO, "ran more than once at one instance", idempotent=True)
        self.check("call", [A, B], INFO, idempotent=True)
        self.check("call", [A, B], FAIL, "ran, though its error says that it did not", idempotent=True)

    def test_idempotent_too_often(self):
        """It goes elsewhere as often as the options say, and is hedged once."""
        for where in ([A], [A, B]):
            most = (where * int(MOST_RUNS))[: int(MOST_RUNS)]
            self.check("call", most, OK, idempotent=True)
            self.check("call", [*most, A], OK, f"ran {MOST_RUNS + 1} times", idempotent=True)
        self.history.events.clear()
        self.number = 0
        self.asked("call", [A, A], OK, idempotent=True)
        self.assertEqual(self.faults(most_runs={"client": 1}), ["ran 2 times"])
        self.assertEqual(self.faults(most_runs={"client": 2}), [])
        self.assertEqual(self.faults(most_runs={"another": 1}), [])

    def test_how_often_by_the_options(self):
        for options, most in (
            (Settings(), 4),
            (Settings(hedge_calls=True), MOST_RUNS),
            (Settings(rpc_retry_attempts=0), 1),
            (Settings(rpc_retry_attempts=0, hedge_calls=True), 2),
            (Settings(rpc_retry_attempts=-1), float("inf")),
        ):
            self.assertEqual(most_runs(options), most)

    def test_directed(self):
        self.check("call", [A], OK, member="a")
        self.check("call", [B], OK, "ran at another member", member="a")
        self.check("cast", [B], OK, "ran at another member", member="a")
        self.check("cast", [B], INFO, "ran at another member", member="a", idempotent=True)
        self.check("fanout", [B], Reached((B,)), "ran at another member", member="a")
        self.check("call_each", [B], [Answer(*B, [1, "bbbb"], None, 1.0)], "ran at another member", member="a")

    def test_another_than_it_was_addressed_to(self):
        """Who is told which instance had it is told so for good, unless it was idempotent."""
        for ran, faults in ((A, ()), (B, ("ran at another instance than had it",))):
            self.check("call", [ran], SENT, *faults)
            self.check("call", [ran], SENT, idempotent=True)
        self.check("call", [A], ServerLost("gone", Journey("work"), maybe_executed=True))

    def test_wrong_result(self):
        self.check("call", [A], [2, "aaaa"], "a wrong result")
        self.check("call", [A], [1, "bbbb"], "a wrong result")
        self.check("call", [A], RemoteError("Broken", "[1, 'aaaa']"))
        self.check("call", [A], RemoteError("Broken", "[2, 'aaaa']"), "a wrong error")

    def test_errors(self):
        error: Any
        for error in (FAIL, NoSuchMethod("NoSuchMethod", "quick"), Cancelled("cancelled")):
            self.check("call", [], error)
            self.check("call", [A], error, "ran, though its error says that it did not")
        for error in (INFO, Cancelled("cancelled", maybe_executed=True), DeadlineExceeded("late", maybe_executed=True)):
            self.check("call", [], error)
            self.check("call", [A], error)
            self.check("call", [A, B], error, "ran at more than one instance")
        self.check("call", [A], RAN)
        self.check("call", [], RAN, "said to be done, and did not run")
        self.check("call", [], ZeroDivisionError("1 / 0"), "an error of no kind")

    def test_time(self):
        self.check("call", [A], OK, "ended 2.000 s after its deadline", until=7.0)
        self.check("call", [A], OK, until=5.9)
        self.check("call", [A], INFO, "began to run 0.500 s after its deadline", at=5.5, until=5.6)
        self.check("call", [A], INFO, at=5.1, until=5.9)
        self.asked("call", [A], OK, until=5.5)
        self.assertEqual(
            self.faults(ended_within=0.02), ["ended 0.900 s after its deadline", "ended 0.500 s after its deadline"]
        )

    def test_never_ended(self):
        self.history.invoke(1, "client", "call", 5)
        self.assertEqual(self.faults(), ["never ended"])
        self.history.died("client", "client")
        self.assertEqual(self.faults(), [])

    def test_never_ended_of_who_died_later(self):
        """Its client has had the time to end it."""
        self.history.invoke(1, "client", "call", 5)
        self.clock.advance(6.1)
        self.history.died("client", "client")
        self.assertEqual(self.faults(), ["never ended"])
        self.assertEqual(self.faults(ended_within=1.2), [])


class CastTests(JudgeCase):
    def test_acknowledged(self):
        self.check("cast", [A], OK)
        self.check("cast", [], OK, "said to be done, and did not run")
        self.check("cast", [A, B], OK, "ran at more than one instance")

    def lost(self, trouble, **options):
        """Judge a cast that was acknowledged and did not run, and what happened meanwhile."""
        self.history.events.clear()
        self.number = 0
        self.asked("call", [A], OK)
        self.asked("call", [B], OK)
        self.history.invoke(3, "client", "cast", 5, **options)
        self.clock.advance(1)
        self.history.ended(3, None)
        trouble()
        return self.faults()

    def test_who_had_it_died(self):
        def died():
            self.history.died("aaaa", "server")

        lost = ["said to be done, and did not run"]
        self.assertEqual(self.lost(died), [])
        self.assertEqual(self.lost(died, member="a"), [])
        self.assertEqual(self.lost(died, member="b"), lost)

    def test_who_had_it_died_later(self):
        """It had the time to run it; when it died is known a moment later."""
        for seconds, faults in ((4.5, []), (5.5, ["said to be done, and did not run"])):

            def died(seconds=seconds):
                self.clock.advance(seconds)
                self.history.died("aaaa", "server")

            self.assertEqual(self.lost(died), faults)

    def test_who_had_it_stood(self):
        """It is late only at who stood until its time was up."""
        self.assertEqual(self.lost(lambda: self.history.stood("aaaa", 5)), [])
        self.assertEqual(self.lost(lambda: self.history.stood("aaaa", 3.5)), [])
        lost = ["said to be done, and did not run"]
        self.assertEqual(self.lost(lambda: self.history.stood("aaaa", 0.05)), lost)
        self.assertEqual(self.lost(lambda: self.history.stood("aaaa", 2.5)), lost)
        self.assertEqual(self.lost(lambda: self.history.stood("aaaa", 5), member="b"), lost)

    def test_who_had_it_got_it_at_the_last_moment(self):
        """Its time may be up when its turn comes."""
        for told_at, faults in ((4.0, ["said to be done, and did not run"]), (4.9, [])):
            self.history.events.clear()
            self.history.invoke(1, "client", "cast", 5)
            self.clock.advance(told_at)
            self.history.ended(1, None)
            self.assertEqual(self.faults(), faults, told_at)

    def test_who_had_it_stood_while_its_age_was_not_known(self):
        """Its time is up earlier for a server whose client's clock has stood."""

        def stood():
            self.history.stood("aaaa", 0.5)
            self.history.stood("client", 3.5, clock=True)

        self.assertEqual(self.lost(stood), [])

    def test_who_ran_nothing_died(self):
        """Of those that are known by nothing else only a server may have had it."""
        self.assertEqual(self.lost(lambda: self.history.died("cccc", "server")), [])
        for role in ("client", "proxy"):
            self.assertEqual(
                self.lost(lambda r=role: self.history.died("cccc", r)), ["said to be done, and did not run"]
            )


class EverybodyTests(JudgeCase):
    def reached(self, *members: Any, missing: Any = (), published: Any = ()):
        return Reached(members, missing, published)

    def test_fanout(self):
        self.check("fanout", [A, B], self.reached(A, B))
        self.check("fanout", [A], self.reached(A, B), "said to be done at bbbb, and did not run")
        self.check("fanout", [A, A], self.reached(A), "ran more than once at one instance")
        self.check("fanout", [], self.reached(missing=[(*A, FAIL)]))
        self.check(
            "fanout", [A], self.reached(missing=[(*A, FAIL)]), "ran at aaaa, though its error says that it did not"
        )
        self.check("fanout", [A], self.reached(missing=[(*A, INFO)]))
        self.check("fanout", [A], self.reached(published=[A, B]))
        self.check("fanout", [A], FAIL, "ran, though its error says that it did not")
        self.check("fanout", [], FAIL)
        self.check("fanout", [A], INFO)

    def test_who_is_not_listed(self):
        for outcome in (self.reached(), self.reached(B), self.reached(missing=[(*B, FAIL)])):
            ran = [A, B] if outcome.members else [A]
            self.check("fanout", ran, outcome, "ran at an instance that is in no list")
        # A publisher knows of who subscribes as soon as anybody.
        self.check("fanout", [A, B], self.reached(published=[B]))
        self.check("fanout", [A, B], self.reached(missing=[(*B, INFO)]))

    def test_who_is_listed_twice(self):
        self.check("fanout", [A], self.reached(A, published=[A]), "an instance is listed twice")
        good = Answer(*A, [1, "aaaa"], None, 1.0)
        self.check("call_each", [A], [good, good], "an instance is listed twice")

    def test_late(self):
        """What is sent to each has an age, of the first as well."""
        late = "began to run 3595.000 s after its deadline"
        for outcome in (self.reached(A), self.reached(missing=[(*A, SENT)]), SENT):
            self.history.events.clear()
            self.asked("fanout", [A], outcome, at=3600.0, until=3600.0)
            self.assertEqual(self.faults(ended_within=3600), [late])

    def test_published_late(self):
        """How long it was under way is known only against the quickest before it that went the same way."""
        self.asked("fanout", [A], self.reached(A), at=1.0, member="a")
        self.asked("fanout", [A], self.reached(A), at=0.5)
        self.asked("fanout", [A], self.reached(published=[A]), at=6.5, until=6.5)
        self.assertEqual(self.faults(ended_within=9), [], "of the first by a way nothing is known")
        self.asked("fanout", [A], self.reached(published=[A]), at=1.0)
        self.assertEqual(self.faults(ended_within=9), [])
        self.asked("fanout", [A], self.reached(published=[A]), at=6.0, until=6.0)
        self.assertEqual(self.faults(ended_within=9), [])
        self.asked("fanout", [A], self.reached(published=[A]), at=6.5, until=6.5)
        self.assertEqual(self.faults(ended_within=9), ["began to run 1.500 s after its deadline"])

    def test_call_each(self):
        good, other = Answer(*A, [1, "aaaa"], None, 1.0), Answer(*B, [1, "bbbb"], None, 1.0)
        lost = Answer(*B, None, FAIL, 1.0)
        self.check("call_each", [A, B], [good, other])
        self.check("call_each", [A], [good, lost])
        self.check("call_each", [A, B], [good, lost], "ran at bbbb, though its error says that it did not")
        self.check(
            "call_each", [A], [good, other], "said to be done at bbbb, and did not run", "a wrong result at bbbb"
        )
        self.check("call_each", [A, B], [good], "ran at an instance that is in no list")


class NotificationTests(JudgeCase):
    def test_pools(self):
        self.check("notify", [A, A, B], 2)
        self.check("notify", [A], 2, "2 pools are said to have it")
        self.check("notify", [A, A], INFO)
        self.check("notify", [], 0)

    def test_errors(self):
        for error in (FAIL, Overloaded("too much")):
            self.check("notify", [], error)
            self.check("notify", [A], error, "ran, though its error says that it did not")
        self.check("notify", [], ZeroDivisionError("1 / 0"), "an error of no kind")


class HistoryTests(JudgeCase):
    def test_order(self):
        """It is asked for only where nothing was lost."""
        for order, faults in (((1, 3, 2), ["ran out of order"]), ((1, 2, 3), [])):
            self.history.events.clear()
            for number in sorted(order):
                self.history.invoke(number, "client", "cast", 5, member="a")
            for number in order:
                self.history.ran(number, *A)
                self.history.ended(number, None)
            self.assertEqual(self.faults(), [])
            self.assertEqual(self.faults(in_order=True), faults)

    def test_order_while_all_connect(self):
        """What is for any member may first wait for another that is slow to connect; what is for one may not."""
        for member, faults in ((None, []), ("a", ["ran out of order"])):
            self.history.events.clear()
            for number in (1, 2):
                self.history.invoke(number, "client", "cast", 5, member=member)
            for number in (2, 1):
                self.history.ran(number, *A)
                self.history.ended(number, None)
            self.history.invoke(3, "client", "cast", 5)
            self.clock.advance(0.1)
            self.history.ran(3, *B)
            self.history.ended(3, None)
            self.assertEqual(self.faults(in_order=True), faults)

    def test_bad_histories(self):
        self.history.invoke(1, "client", "cast", 5)
        self.history.ended(1, FAIL)
        self.history.ended(1, FAIL)
        self.history.ran(2, *A)
        self.assertEqual(self.faults(), ["nobody has asked for it", "ended more than once"])
        self.history.events.clear()
        for _ in range(2):
            self.history.invoke(1, "client", "cast", 5)
        self.history.ended(1, FAIL)
        self.assertEqual(self.faults(), ["cast 1 was asked twice; give each an id of its own"])

    def test_clocks_that_stand(self):
        """A process that stands ends its calls late by as much, and does not run any later unless its clock stood."""
        self.history.stood("client", 9.0)
        self.asked("call", [], INFO, until=9.5)
        self.assertEqual(self.faults(), [])
        self.history.events.clear()
        self.history.stood("aaaa", 9.0)
        self.asked("call", [A], INFO, at=9.0, until=9.0)
        self.assertEqual(self.faults(), ["ended 4.000 s after its deadline", "began to run 4.000 s after its deadline"])
        self.history.events.clear()
        self.history.stood("aaaa", 9.0, clock=True)
        self.asked("call", [A], INFO, at=9.0, until=5.0)
        self.assertEqual(self.faults(), [])

    def test_clock_that_stood_before(self):
        """What comes next tells a server how long its clock has stood: a message that is young, or a PING."""
        late = "began to run 2.500 s after its deadline"
        for passed, faults in ((KNOWN_AGAIN - 0.1, []), (KNOWN_AGAIN + 0.1, [late]), (1000.0, [late])):
            self.history.events.clear()
            self.history.stood("aaaa", 3.0, clock=True)
            self.clock.advance(3.0 + passed)
            self.asked("call", [A], INFO, timeout=1, at=3.5, until=3.5)
            self.assertEqual(self.faults(ended_within=9), faults, passed)
        self.history.events.clear()
        self.history.stood("aaaa", 3.0, clock=True)
        self.clock.advance(3.1)
        self.asked("call", [A], OK, at=0.01, until=0.01)
        self.asked("call", [A], INFO, timeout=1, at=3.5, until=3.5)
        self.assertEqual(self.faults(ended_within=9), [late])

    def test_cases(self):
        """What belongs together, in the order in which it was asked."""
        self.asked("call", [A], OK)
        self.asked("cast", [], FAIL)
        self.history.ran("unknown", *A)
        cases = self.history.cases()
        self.assertEqual([(id, len(case.ran), len(case.ended)) for id, case in cases.items()], [(1, 1, 1), (2, 0, 1)])
        self.assertEqual(cases[2].asked.kind, "cast")

    def test_logs_of_several_processes(self):
        """They are joined in the order of time; what a killed process did not write to its end is left out."""
        logs = BytesIO(), BytesIO()
        client, server = (History(self.clock.seconds, log) for log in logs)
        client.invoke("c1", "client", "call", 5)
        self.clock.advance(1)
        answer = server.ran("c1", *A)
        self.clock.advance(1)
        client.ended("c1", answer)
        server.died("aaaa", "server")
        logs[1].write(b'{"event":"ran","at":')
        for log in logs:
            log.seek(0)
        joined = History.read(logs[1], logs[0])
        self.assertEqual([type(event).__name__ for event in joined.events], ["Invoked", "Ran", "Died", "Ended"])
        self.assertEqual(joined.violations(), [])
        with self.assertRaises(ValueError):
            History.read([b"nonsense\n"])

    def test_log_only(self):
        """A process that only writes does not grow."""
        log = BytesIO()
        history = History(self.clock.seconds, log, keep=False)
        history.invoke("c1", "client", "call", 5)
        history.died("aaaa", "server")
        self.assertEqual(history.events, [])
        log.seek(0)
        self.assertEqual([type(event).__name__ for event in History.read(log).events], ["Invoked", "Died"])

    def test_sentence(self):
        """A violation says all that is known of what was asked."""
        self.asked("call", [A], FAIL, member="a", idempotent=True)
        self.assertEqual(
            self.history.violations(),
            [
                "ran, though its error says that it did not: idempotent call 1 to a of client client, asked at 0.000 s "
                "with 5 s; ran at 1.000 s by a aaaa; told at 2.000 s: fail NoRoute: nobody"
            ],
        )


class PropertyTests(SynchronousTestCase):
    @given(st.data())
    def test_whatever_a_good_system_does(self, data):
        """A history in which each promise is kept has no violation, in whatever order things happen."""
        clock = Clock()
        history = History(clock.seconds)
        for number in range(data.draw(st.integers(0, 5))):
            kind = data.draw(st.sampled_from(["call", "cast", "fanout"]))
            instance = data.draw(st.sampled_from([A, B]))
            history.invoke(number, "client", kind, 5)
            clock.advance(data.draw(st.floats(0, 2)))
            runs = data.draw(st.booleans())
            answer = history.ran(number, *instance) if runs else None
            clock.advance(data.draw(st.floats(0, 2)))
            if not runs:
                history.ended(number, data.draw(st.sampled_from([FAIL, INFO])))
            else:
                good = Reached((instance,)) if kind == "fanout" else answer
                history.ended(number, data.draw(st.sampled_from([good, INFO])))
        self.assertEqual(history.violations(in_order=True), [])

    @given(st.permutations(range(6)))
    def test_order_of_logs(self, order):
        """In whatever order the logs are joined, the judgement is the same."""
        clock, logs = Clock(), [BytesIO() for _ in range(6)]
        histories = [History(clock.seconds, log) for log in logs]
        for number, history in enumerate(histories):
            history.invoke(number, "client", "cast", 5)
            clock.advance(1)
            histories[-1 - number].ran(number, *A)
            clock.advance(1)
            history.ended(number, FAIL if number == 3 else None)
        for log in logs:
            log.seek(0)
        violations = History.read(*(logs[number] for number in order)).violations()
        self.assertEqual(len(violations), 1)
        self.assertIn("cast 3", violations[0])
