"""What the members of a simulated system do: they write down that they run."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from zmqrpc import REQUEUE, Target, detached, expose, inherited
from zmqrpc.errors import DeadlineExceeded, RemoteError
from zmqrpc.testing import MemoryNode

if TYPE_CHECKING:
    from zmqrpc.test.sim.system import Place, System

AGES_WITHIN = 0.3
"""What ages of messages, and with them deadlines at a server, are uncertain by, in seconds."""


@attrs.define
class Run:
    """
    One method that does not end at once.

    :ivar number: the id of what it runs for.
    :ivar began: when it began, by no process's clock.
    :ivar ended: when it ended; None before that.
    """

    number: int
    instance: str
    began: float
    ended: float | None = None


class Endpoint:
    """
    Answers calls, and hears notifications.

    :param place: where its process runs; as a listener it is the only one of a pool of that name.
    """

    def __init__(self, system: System, node: MemoryNode, place: Place) -> None:
        self._system = system
        self._node = node
        self._place = place
        self._chance = Random(system.chance.getrandbits(64))
        self._client: Any = None

    def _ran(self, number: int) -> list[Any]:
        return self._system.history.ran(number, self._place.host, self._node.instance.hex())

    def _laden(self, number: int, ballast: bytes | None) -> list[Any]:
        """Return an answer as large as the request: `Asked` looks past what is behind the first two."""
        answer = self._ran(number)
        return answer if ballast is None else [*answer, ballast]

    @expose
    def quick(self, context, number, ballast=None):
        return self._laden(number, ballast)

    @expose
    def slow(self, context, number, ballast=None):
        return self._after(number, self._laden(number, ballast), self._system.slowest)

    @expose
    def broken(self, context, number, ballast=None):
        raise RemoteError("Broken", str(self._ran(number)))

    @expose
    def busy(self, context, number, ballast=None):
        """Take some of the processor's time, in which the process does nothing else."""
        answer = self._ran(number)
        self._system.keep_busy(self._place, self._node, self._chance.choice([0.003, 0.003, 0.02, 0.4]))
        return answer

    @expose
    def block(self, context, number, ballast=None):
        """Keep the process from everything else for longer, once this pass is over."""
        answer = self._ran(number)
        self._system.block(self._place, self._node, self._chance.choice([0.5, 1.5, self._system.longest_stand]))
        return deferLater(self._node.clock, 0, lambda: answer)

    @expose
    def relay(self, context, number, until, ballast=None):
        """Ask another member, and answer when that has: with its caller's time, where it is a call."""
        answer = self._ran(number)
        asked = self._ask_on(until)

        def brought(outcome: Any) -> Any:
            if isinstance(outcome, CancelledError) or (isinstance(outcome, DeadlineExceeded) and outcome.inherited):
                # Those the server knows how to tell.
                return Failure(outcome)
            return answer

        return self._follow(number, asked.addCallback(brought))

    @expose
    def start(self, context, number, until, ballast=None):
        """Begin to ask another member what may outlast its own caller."""
        answer = self._ran(number)
        with detached():
            self._ask_on(None)
        return answer

    def info(self, context, publisher_id, event_type, payload, metadata):
        self._ran(payload["number"])
        return REQUEUE if self._chance.random() < 0.1 else None

    def warn(self, context, publisher_id, event_type, payload, metadata):
        self._ran(payload["number"])
        return deferLater(self._node.clock, self._chance.uniform(0, 1.5), lambda: None)

    def _after(self, number: int, answer: Any, most: float) -> Deferred[Any]:
        return self._follow(number, deferLater(self._node.clock, self._chance.uniform(0, most), lambda: answer))

    def _follow(self, number: int, result: Deferred[Any]) -> Deferred[Any]:
        """Note when a method ends."""
        system = self._system
        run = Run(number, self._node.instance.hex(), system.now)
        system.runs.append(run)

        def note(outcome: Any) -> Any:
            run.ended = system.now
            return outcome

        return result.addBoth(note)

    def _ask_on(self, until: float | None) -> Deferred[Any]:
        """
        Call any member.

        :param until: when the time of our own caller is up, by no process's clock; None where that does not matter.
        """
        node, system, chance = self._node, self._system, self._chance
        if self._client is None:
            self._client = node.client()
        wanted = chance.choice([0.3, 1, system.longest_timeout])
        now = node.clock.seconds()
        timeout = inherited.bounded(now + wanted, now) - now
        own = system.clocks_go and until is not None
        if own and timeout > max(0.0, until - system.now) + AGES_WITHIN:  # type: ignore[operator]
            system.asked.faults.append(f"a method has {timeout:.3f} s at {system.now:.3f} s, its caller until {until}")
        if until is None and timeout < wanted - 1e-6:
            system.asked.faults.append(f"what is detached has {timeout:.3f} s of {wanted} s")
        number = system.asked.begin(node, "call", timeout)
        call = self._client.call(
            Target(self._place.topic), chance.choice(["quick", "slow"]), {"number": number}, timeout=wanted
        )
        return call.addBoth(system.asked.ended, number)  # type: ignore[no-any-return]
