"""Doubles of servers: they answer as told, and say what was called and what was expected."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.errors import ConfigError, DeadlineExceeded, InvalidArguments, NoSuchMethod, RemoteError, UnsupportedVersion
from zmqrpc.testing import Fake, Network

CALC = Target("calc")


class Calc:
    @expose
    def add(self, context, a, b=0):
        raise AssertionError("no code of the real endpoint runs")

    @expose
    def expect(self, context, verify):
        """A name that a double has as well."""

    def not_exposed(self):
        pass


class Versioned:
    target = Target(namespace="math", version="2.1")

    @expose
    def double(self, context, *, value):
        pass


class FakeTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network()
        self.calc = self.network.fake("calc", Calc)
        self.client = self.network.client()

    def call(self, method="add", target=CALC, **arguments):
        return self.network.result_of(self.client.call(target, method, arguments))

    def faults(self, *wanted):
        """Check what `verify` says."""
        if not wanted:
            self.calc.verify()
            return
        with self.assertRaises(AssertionError) as caught:
            self.calc.verify()
        self.assertEqual(str(caught.exception).splitlines(), list(wanted))

    def test_returns(self):
        """Each expectation answers one call, whatever the order."""
        self.calc.expect("add", a=1, b=2).returns(3)
        self.calc.expect("add", a=5).returns({"sum": [5]})
        self.calc.expect("expect", verify=None)
        self.assertIsNone(self.call("expect", verify=None))
        self.assertEqual(self.call(a=5), {"sum": [5]})
        self.assertEqual(self.call(a=1, b=2), 3)
        self.faults()
        self.assertEqual(self.calc.calls[1:], [("add", {"a": 5}, {}), ("add", {"a": 1, "b": 2}, {})])

    def test_the_same_twice(self):
        """Equal expectations are answered in the order in which they were told."""
        self.calc.expect("add", a=1).returns(1)
        self.calc.expect("add", a=1).returns(2)
        self.assertEqual([self.call(a=1), self.call(a=1)], [1, 2])
        self.faults()

    def test_raises(self):
        """An error comes as those of methods do, and trial does not take it for a fault of the test."""
        self.calc.expect("add", a=1).raises(ZeroDivisionError("by zero"))
        with self.assertRaises(RemoteError) as caught:
            self.call(a=1)
        self.assertEqual((caught.exception.type_name, caught.exception.message), ("ZeroDivisionError", "by zero"))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.faults()

    def test_does(self):
        """A callable of the test answers, at once or later."""
        self.calc.allow("add", ...).does(lambda a, b: succeed(a + b))
        self.assertEqual([self.call(a=1, b=2), self.call(a=3, b=4)], [3, 7])
        self.faults()

    def test_after(self):
        """An answer that takes its time takes that of the network."""
        self.calc.expect("add", a=1).after(5).returns("late")
        self.calc.expect("add", a=2).raises(KeyError("late")).after(5)
        began = self.network.clock.seconds()
        both = [self.client.call(CALC, "add", {"a": number}, timeout=20) for number in (1, 2)]
        self.assertEqual(self.network.result_of(both[0]), "late")
        self.assertAlmostEqual(self.network.clock.seconds() - began, 5, places=1)
        with self.assertRaises(RemoteError):
            self.network.result_of(both[1])

    def test_never_answers(self):
        """A call that is never answered ends by its deadline."""
        self.calc.expect("add", a=1).never_answers()
        with self.assertRaises(DeadlineExceeded) as caught:
            self.network.result_of(self.client.call(CALC, "add", {"a": 1}, timeout=10))
        self.assertTrue(caught.exception.maybe_executed)
        self.faults()
        self.network.close()

    def test_cancelled(self):
        """What is cancelled by its caller is cancelled in the double."""
        began: list[Deferred[Any]] = []

        def begin(a: int) -> Deferred[Any]:
            began.append(Deferred())
            return began[-1]

        self.calc.expect("add", a=1).does(begin)
        call = self.client.call(CALC, "add", {"a": 1})
        self.network.run_until(lambda: began)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.network.run(0.1)
        self.assertTrue(began[0].called)

    def test_casts_and_fanouts(self):
        """They come to a double as calls do."""
        self.calc.expect("add", a=1)
        self.calc.expect("add", a=2)
        self.network.result_of(self.client.cast(CALC, "add", {"a": 1}))
        reached = self.network.result_of(self.client.fanout(CALC, "add", {"a": 2}))
        self.assertEqual([member for member, _ in reached.members], ["calc"])
        self.network.run(0.1)
        self.faults()

    def test_context(self):
        """The caller's context is kept with the call."""
        self.calc.allow("add", ...)
        self.network.result_of(self.client.call(CALC, "add", {"a": 1}, context={"user": "ada"}))
        self.assertEqual(self.calc.calls, [("add", {"a": 1}, {"user": "ada"})])

    def test_missing(self):
        """What did not come is named, with its answer."""
        self.calc.expect("add", a=1, b="x" * 200).after(2).returns(3)
        self.calc.expect("expect", ...).never_answers()
        self.calc.allow("add", a=2)
        self.call(a=2)
        self.faults(
            f"calc was to be called, and was not: add(a=1, b='{'x' * 37}...{'x' * 38}'), which returns 3 after 2 s",
            "calc was to be called, and was not: expect(...), which never answers",
            "calc was called in this order: add(a=2)",
        )

    def test_never_called(self):
        self.calc.expect("add", a=1)
        self.faults(
            "calc was to be called, and was not: add(a=1), which returns None",
            "calc was called in this order: not at all",
        )

    def test_wrong_arguments(self):
        """The argument that differs is named, to the caller as well."""
        self.calc.expect("add", a=1, b=2).returns(3)
        self.calc.expect("add", a=7, b=8).returns(15)
        with self.assertRaises(RemoteError) as caught:
            self.call(a=1, b=5)
        self.assertEqual(caught.exception.type_name, "UnexpectedCall")
        self.assertEqual(caught.exception.message, "add(a=1, b=5) was not expected: b is 5, expected 2")
        with self.assertRaises(RemoteError):
            self.call(a=1)
        self.faults(
            "calc was to be called, and was not: add(a=1, b=2), which returns 3",
            "calc was to be called, and was not: add(a=7, b=8), which returns 15",
            "calc was not to be called: add(a=1, b=5): b is 5, expected 2",
            "calc was not to be called: add(a=1): b is missing",
            "calc was called in this order: add(a=1, b=5), add(a=1)",
        )

    def test_another_method(self):
        self.calc.expect("add", a=1).returns(3)
        with self.assertRaises(RemoteError) as caught:
            self.call("expect", verify=1)
        self.assertIn("expect(verify=1) was not expected: expected is add(a=1), which returns 3", str(caught.exception))

    def test_once_too_often(self):
        self.calc.expect("add", a=1)
        self.call(a=1)
        with self.assertRaises(RemoteError) as caught:
            self.call(a=1)
        self.assertIn("it was expected once, and came before", str(caught.exception))
        self.assertRaises(RemoteError, self.call, "expect", verify=1)
        self.faults(
            "calc was not to be called: add(a=1): it was expected once, and came before",
            "calc was not to be called: expect(verify=1): nothing more is expected",
            "calc was called in this order: add(a=1), add(a=1), expect(verify=1)",
        )

    def test_any_value(self):
        """One argument may be whatever it is."""
        self.calc.expect("add", a=ANY, b=2).returns(0)
        with self.assertRaises(RemoteError) as caught:
            self.call(a=[1], b=3)
        self.assertIn("not expected: b is 3, expected 2", str(caught.exception))
        self.call(a=[1], b=2)

    def test_real_parameters(self):
        """Arguments that the real endpoint would not take are refused, and not lost."""
        self.calc.allow("add", ...)
        with self.assertRaises(InvalidArguments) as caught:
            self.call(a=1, c=2)
        self.assertIn("there is no parameter 'c'; there are a, b", str(caught.exception))
        self.faults(
            "calc was not to be called: add(a=1, c=2): it does not fit, got an unexpected keyword argument 'c'",
            "calc was called in this order: add(a=1, c=2)",
        )

    def test_real_methods(self):
        """A method that the real endpoint does not expose cannot be called, and not be expected."""
        for name in ("not_exposed", "nothing"):
            self.assertRaises(NoSuchMethod, self.call, name)
            with self.assertRaises(ConfigError) as caught:
                self.calc.expect(name)
            self.assertIn(name, str(caught.exception))

    def test_real_version(self):
        """Namespace and version are those of the real endpoint."""
        math = self.network.fake("math", Versioned)
        math.expect("double", value=2).returns(4)
        target = Target("math", namespace="math", version="2.0")
        self.assertEqual(self.call("double", target, value=2), 4)
        with self.assertRaises(UnsupportedVersion):
            self.call("double", Target("math", namespace="math", version="2.2"), value=2)

    def test_names(self):
        """A double without a class takes any arguments."""
        free = self.network.fake("free.one", "add", "reset")
        free.expect("add", x=1).returns(1)
        self.assertEqual(self.call("add", Target("free"), x=1), 1)
        with self.assertRaises(RemoteError):
            self.call("reset", Target("free"), deep=True)
        self.assertIn("free.one was not to be called: reset(deep=True)", str(free.faults()))

    def test_odd_expectations(self):
        for any_arguments in ((1,), (..., ...)):
            with self.assertRaises(ConfigError):
                self.calc.expect("add", *any_arguments)
        with self.assertRaises(ConfigError):
            self.calc.allow("add", ..., a=1)
        for like in ((), (FakeTests,)):
            with self.assertRaises(ConfigError):
                Fake(*like, name="nothing", clock=self.network.clock)

    def test_any_class(self):
        """The class is not made an instance of: it may need whatever it needs."""

        class Needy:
            def __init__(self, database):
                self.database = database

            def __repr__(self):
                return f"with {self.database}"

            @expose(thread=True)
            def load(self, context, key):
                return self.database[key]

            @property
            def trap(self):
                return self.database.trap

        store = self.network.fake("store", Needy)
        store.expect("load", key=1).returns("one")
        self.assertEqual(self.call("load", Target("store"), key=1), "one")

    def test_many(self):
        """Answers find their calls."""
        self.calc.allow("add", ...).does(lambda a: a)
        calls = [self.client.call(CALC, "add", {"a": number}) for number in range(300)]
        self.assertEqual(self.network.result_of(gatherResults(calls)), list(range(300)))
        self.assertEqual(len(self.calc.calls), 300)
