"""
What was told to each caller, held against what each server ran.

A `History` is written while a system runs, simulated or real, and judged afterwards. It knows nothing of how the
promises are kept: it only counts (the method of Jepsen).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import msgspec

from zmqrpc.testing.events import Died, Ended, Event, Id, Invoked, Ran, Stood, told_by
from zmqrpc.testing.judge import YOUNG, Case, Troubles

_LINE = msgspec.json.Decoder(Invoked | Ran | Ended | Died | Stood)
_ENCODE = msgspec.json.Encoder().encode


class History:
    """
    What happened, in the order in which it did.

    :param seconds: tells the time; for several processes of one machine this is `time.monotonic`.
    :param log: where each event is written as a line of JSON at once, such as a file that is opened unbuffered: what a
        process has written outlives it. None to keep the events here only.
    :ivar events: all of them.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic, log: BinaryIO | None = None) -> None:
        self.events: list[Any] = []
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

    def died(self, instance: str) -> None:
        """Write that a process was killed. See `Died`."""
        self._note(Died(self._seconds(), instance))

    def stood(self, instance: str, seconds: float, clock: bool = False) -> None:
        """Write that a process stands for some seconds from now. See `Stood`."""
        self._note(Stood(self._seconds(), instance, seconds, clock))

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if self._log is not None:
            self._log.write(_ENCODE(event) + b"\n")

    # The judgement

    def violations(self, ended_within: float = 1.0, begun_within: float = 0.3, in_order: bool = False) -> list[str]:
        """
        List every broken promise, one sentence each; call it when everything has ended.

        :param ended_within: seconds after its deadline by which a call has to have ended.
        :param begun_within: seconds after its deadline by which a method may still begin, since ages of messages are
            known that well only.
        :param in_order: whether what a client asks of one instance has to run in the order in which it was asked. It
            has to where nothing was lost.
        """
        cases: dict[Id, Case] = {}
        found = []
        for event in self.events:
            if type(event) is Invoked:
                if event.id in cases:
                    found.append(f"{event.kind} {event.id} was asked twice; give each an id of its own")
                cases.setdefault(event.id, Case(event))
        died: dict[str, float] = {}
        stood: defaultdict[str, list[Stood]] = defaultdict(list)
        members: defaultdict[str, set[str]] = defaultdict(set)
        quickest: dict[tuple[str, str | None, str], float] = {}
        heard: dict[tuple[str, str], float] = {}
        for event in self.events:
            match event:
                case Died():
                    died.setdefault(event.instance, event.at)
                case Stood():
                    stood[event.instance].append(event)
                case Ran() | Ended() if event.id not in cases:
                    found.append(f"nobody has asked for it: {event}")
                case Ran():
                    case = cases[event.id]
                    case.ran.append(event)
                    members[event.member].add(event.instance)
                    pair = (case.asked.client, event.instance)
                    case.heard.setdefault(event.instance, heard.get(pair, 0.0))
                    if event.at - case.asked.at < YOUNG:
                        heard[pair] = event.at
                    if case.asked.kind == "fanout":
                        # What is for one member goes to it alone, which tells nothing of the way through a publisher.
                        way, took = (case.asked.client, case.asked.member, event.instance), event.at - case.asked.at
                        case.quickest[event.instance] = quickest[way] = min(took, quickest.get(way, took))
                case Ended():
                    cases[event.id].ended.append(event)
        troubles = Troubles(died, stood, members, {each.asked.client for each in cases.values()})
        for each in cases.values():
            found += [f"{fault}: {each}" for fault in each.faults(troubles, ended_within, begun_within)]
        return found + (self._out_of_order(cases) if in_order else [])

    def _out_of_order(self, cases: dict[Id, Case]) -> list[str]:
        """List what ran after something that the same client had asked of the same instance later."""
        found = []
        places = {id: place for place, id in enumerate(cases)}
        last: dict[tuple[str, str], Id] = {}
        for event in self.events:
            if type(event) is Ran and event.id in cases and cases[event.id].asked.kind in ("call", "cast"):
                pair = (cases[event.id].asked.client, event.instance)
                before = last.setdefault(pair, event.id)
                if places[event.id] < places[before]:
                    found.append(f"ran out of order: {cases[event.id]}; after {cases[before]}")
                else:
                    last[pair] = event.id
        return found
