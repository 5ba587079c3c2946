"""The records of a node, with matchmakers that fail otherwise than their interface says."""

from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.registration import Registration
from zmqrpc.notices import Notices
from zmqrpc.registrar import Registrar
from zmqrpc.testing.matchmaker import make_record


class Raising:
    """A matchmaker some of whose methods raise at once; `asked` is what was called."""

    def __init__(self, *raising: str) -> None:
        self.raising = raising
        self.asked: list[str] = []

    def register(self, record, expire):
        return self._answer("register")

    def withdraw(self, record):
        return self._answer("withdraw")

    def watch(self, exchange, topic, changed):
        self._answer("watch")
        return lambda: None

    def _answer(self, name):
        self.asked.append(name)
        if name in self.raising:
            raise RuntimeError(name)
        return succeed(None)


class RegistrarTests(SynchronousTestCase):
    def make(self, matchmaker: Any) -> Registrar:
        self.clock = Clock()
        seconds = self.clock.seconds
        registration = Registration(300, 120, lambda: 0.75)
        return Registrar(registration, matchmaker, seconds, lambda when: None, Notices(seconds).record)

    def test_matchmaker_raises(self):
        """It is asked again, and what failed is logged."""
        for name in ("register", "watch"):
            matchmaker = Raising(name)
            registrar = self.make(matchmaker)
            registrar.publish((make_record(),))
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1, name)
            matchmaker.raising = ()
            self.clock.advance(1)
            registrar.sweep(1.0)
            self.assertEqual(registrar.not_ready, "", name)
            self.successResultOf(registrar.stop())
            self.assertIn("withdraw", matchmaker.asked, name)

    def test_withdrawal_raises(self):
        """A stop ends all the same."""
        registrar = self.make(Raising("withdraw"))
        registrar.publish((make_record(),))
        self.successResultOf(registrar.stop())

    def test_withdrawals_are_forgotten(self):
        registrar = self.make(Raising())
        for _ in range(10):
            registrar.publish((make_record(),))
            registrar.publish(())
        self.assertEqual(registrar._withdrawals, [])
