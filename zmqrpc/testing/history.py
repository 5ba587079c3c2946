"""
What was told to each caller, held against what each server ran.

A `History` is written while a system runs, simulated or real, and judged afterwards. It knows nothing of how the
promises are kept: it only counts (the method of Jepsen).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import msgspec

from zmqrpc.testing.events import Died, Ended, Event, Id, Invoked, Ran, Stood, told_by
from zmqrpc.testing.judge import BEGUN_WITHIN, ENDED_WITHIN, Case, Judge, learn_ages, out_of_order
from zmqrpc.testing.troubles import Troubles

_LINE = msgspec.json.Decoder(Invoked | Ran | Ended | Died | Stood)
_ENCODE = msgspec.json.Encoder().encode


class History:
    """
    What happened, in the order in which it did.

    :param seconds: tells the time; for several processes of one machine this is `time.monotonic`.
    :param log: where each event is written as a line of JSON at once, such as a file that is opened unbuffered: what a
        process has written outlives it. None to keep the events here only.
    :param keep: whether events are kept here as well; false: a process that writes for a long time does not grow.
    :ivar events: all of them.
    """

    def __init__(
        self, seconds: Callable[[], float] = time.monotonic, log: BinaryIO | None = None, keep: bool = True
    ) -> None:
        self.events: list[Any] = []
        self._keep = keep
        self._seconds = seconds
        self._log = log

    @classmethod
    def read(cls, *logs: Iterable[bytes]) -> History:
        """
        Join the logs of several processes. A last line that a killed process did not finish is left out.

        :param logs: the lines of each, such as a file that is open for reading bytes.
        :raises ValueError: a line is no event.
        """
        history = cls()
        lines = [line for log in logs for line in log if line.endswith(b"\n")]
        # In this order of the same moment: what is asked may run at once.
        history.events = sorted(map(_LINE.decode, lines), key=lambda event: event.at)
        return history

    # What is written down

    def invoke(
        self,
        id: Id,
        client: str,
        kind: str,
        timeout: float,
        *,
        member: str | None = None,
        idempotent: bool = False,
    ) -> None:
        """Write that a client is about to send something: before it does. See `Invoked`; `timeout` in seconds."""
        now = self._seconds()
        self._note(Invoked(now, id, client, kind, now + timeout, member, idempotent))

    def ran(self, id: Id, member: str, instance: str) -> list[Id]:
        """
        Write that a method has begun: before it does anything else. See `Ran`.

        :return: what it has to return, or to have in the text of what it raises, so that answers can be told apart.
        """
        self._note(Ran(self._seconds(), id, member, instance))
        return [id, instance]

    def ended(self, id: Id, outcome: object) -> None:
        """
        Write what its caller was told.

        :param outcome: what the Deferred brought, or the error that it failed with.
        """
        self._note(Ended(self._seconds(), id, list(told_by(outcome))))

    def died(self, instance: str, role: str) -> None:
        """Write that a process was killed. See `Died`."""
        self._note(Died(self._seconds(), instance, role))

    def stood(self, instance: str, seconds: float, clock: bool = False) -> None:
        """Write that a process stands for some seconds from now. See `Stood`."""
        self._note(Stood(self._seconds(), instance, seconds, clock))

    def _note(self, event: Event) -> None:
        if self._keep:
            self.events.append(event)
        if self._log is not None:
            self._log.write(_ENCODE(event) + b"\n")

    # The judgement

    def cases(self) -> dict[Id, Case]:
        """Put together what belongs to each thing that was asked, in the order in which they were asked."""
        cases: dict[Id, Case] = {}
        for event in self.events:
            if type(event) is Invoked:
                cases.setdefault(event.id, Case(event))
        for event in self.events:
            if type(event) is Ran and event.id in cases:
                cases[event.id].ran.append(event)
            elif type(event) is Ended and event.id in cases:
                cases[event.id].ended.append(event)
        return cases

    def violations(
        self,
        ended_within: float = ENDED_WITHIN,
        begun_within: float = BEGUN_WITHIN,
        in_order: bool = False,
        most_runs: Mapping[str, float] | None = None,
    ) -> list[str]:
        """
        List every broken promise, one sentence each; call it when everything has ended.

        :param ended_within: seconds after its deadline by which a call has to have ended.
        :param begun_within: seconds after its deadline by which a method may still begin, since ages of messages are
            known that well only.
        :param in_order: whether what a client asks of one instance has to run in the order in which it was asked. It
            has to where nothing was lost, over one connection.
        :param most_runs: how often something idempotent may run, by the instance of its client in hex digits: one more
            than ``rpc_retry_attempts``, and one more where calls are hedged. Without it as with the default, hedged.
        """
        cases = self.cases()
        learn_ages(self.events, cases)
        judge = Judge(Troubles.of(self.events), ended_within, begun_within, most_runs or {})
        found = [*self._impossible(cases)]
        for case in cases.values():
            found += [f"{fault}: {case}" for fault in judge.faults(case)]
        return [*found, *(out_of_order(self.events, cases) if in_order else ())]

    def _impossible(self, cases: Mapping[Id, Case]) -> Iterator[str]:
        """Say what no system can have done."""
        asked: set[Id] = set()
        for event in self.events:
            if type(event) is Invoked:
                if event.id in asked:
                    yield f"{event.kind} {event.id} was asked twice; give each an id of its own"
                asked.add(event.id)
            elif type(event) in (Ran, Ended) and event.id not in cases:
                yield f"nobody has asked for it: {event}"
