"""What is going on in a node or a proxy, told to who asks: bounded, names and times, and no values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import msgspec

from zmqrpc._version import __version__
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Hello
from zmqrpc.core.inspected import INSPECT, INSPECTION, REFUSED, EventSeen, Inspected, LimitSeen, Matchmaker
from zmqrpc.core.values import encodable
from zmqrpc.descriptors import descriptors
from zmqrpc.errors import AccessDenied
from zmqrpc.interfaces import IMatchmaker, IOutages
from zmqrpc.notices import Notices
from zmqrpc.settings import Settings
from zmqrpc.transport_url import masked_url

EVENTS = 10
"""How many events are told unless somebody asks for more."""

_MOST_ROWS = (200, 100, 50, 20, 5, 0)
"""Of each table; the first that fits into a message counts."""

_MOST_EVENTS = 100_000
"""Of a longer ring, and of those the ones that fit: to write down more would keep the reactor for seconds."""

_MOST_TEXT = 300
_MOST_INT = 2**63 - 1
_PAUSE = 0.1
"""Seconds in which all who ask get the same answer: it costs milliseconds, and anybody who can connect may ask."""

_ROOM = 2048
"""Bytes of a message around it."""


class Inspection:
    """
    That of one node, or one proxy.

    :param instance: its instance.
    :param not_ready: tells why others cannot find it, empty when they can.
    :param seconds: the monotonic clock.
    :ivar kind: ``node``, or the name of the kind of proxy.
    :ivar tell_more: writes down what is in its tables: what is told so far, the most rows of each, and the time.
    :ivar began: when it was started; set then.
    """

    def __init__(
        self,
        settings: Settings,
        instance: bytes,
        notices: Notices,
        matchmaker: IMatchmaker,
        not_ready: Callable[[], str],
        seconds: Callable[[], float],
    ) -> None:
        self.kind = "node"
        self.tell_more: Callable[[Inspected, int, float], None] = lambda seen, most, now: None
        self.began: float | None = None
        self._settings = settings
        self._instance = instance
        self._notices = notices
        self._outages: Any = IOutages(matchmaker, None)
        self._not_ready = not_ready
        self._seconds = seconds
        self._answer: dict[str, Any] = {}
        self._answer_size = 0
        self._answer_until = -NEVER

    def answer(self, events: int, most_bytes: float = NEVER) -> dict[str, Any]:
        """
        Tell others, as `tell`; who asks within a moment is told of the same one, with no more events.

        :param most_bytes: what all of it may take; where that is less than there is, they are told next to nothing.
        :raises AccessDenied: the operator does not want that (``rpc_inspect``).
        """
        if not self._settings.rpc_inspect:
            raise AccessDenied("AccessDenied", "inspection is switched off here (rpc_inspect)")
        now = self._seconds()
        if now >= self._answer_until:
            # For all who ask, whatever they want, since that may be another thing each time.
            self._answer = self.tell(max(events, EVENTS))
            self._answer_size = len(msgspec.msgpack.encode(self._answer))
            self._answer_until = now + _PAUSE
        if self._answer_size > most_bytes - _ROOM:
            return _least(self._answer)
        told = self._answer
        shown, left_out = told.get("events", []), told.get("left_out", {})
        if events < len(shown):
            left_out = {**left_out, "events": left_out.get("events", 0) + len(shown) - events}
            told = {**told, "events": shown[:events], "left_out": left_out}
        return told

    def tell(self, events: int = EVENTS, most_bytes: float = NEVER) -> dict[str, Any]:
        """
        Tell what is going on, as a map (docs/spec/wire, Inspection).

        :param events: how many of the newest events.
        :param most_bytes: what all of it may take, encoded; of ours and of theirs the least counts.
        """
        room = min(most_bytes, self._settings.max_message_size) - _ROOM
        events = min(events, _MOST_EVENTS)
        for most in _MOST_ROWS:
            told: dict[str, Any] = _plain(msgspec.to_builtins(self._seen(events, most)))
            if len(msgspec.msgpack.encode(told)) <= room:
                return told
            events //= 2
        return _least(told)

    def away(self) -> str:
        """Tell why the matchmaker does not answer; empty while it does, or cannot tell."""
        try:
            return str(self._outages.away()) if self._outages is not None else ""
        except Exception as error:
            # A fault of a plugin, which the node logs where it asks for the same.
            return f"it cannot say whether it answers: {type(error).__name__}"

    def _seen(self, events: int, most: int) -> Inspected:
        settings, now = self._settings, self._seconds()
        seen = Inspected(
            kind=self.kind,
            member=settings.host,
            instance=self._instance.hex(),
            version=__version__,
            process=os.getpid(),
            uptime=now - self.began if self.began is not None else 0.0,
            matchmaker=self._matchmaker(most),
            counters=dict(sorted(self._notices.counts.items())),
        )
        recorder = self._notices.recorder
        seen.events = [
            EventSeen(
                age=now - event.seconds, name=event.name, peer=event.peer, number=event.number, text=event.sentence
            )
            for event in recorder.newest(events)
        ]
        seen.leave_out("events", len(recorder), len(seen.events))
        self.tell_more(seen, most, now)
        seen.limits = [*seen.limits, *_descriptors()]
        return seen

    def _matchmaker(self, most: int) -> Matchmaker:
        settings = self._settings
        failing: list[str] = []
        if self._outages is not None:
            try:
                failing = [str(each) for each in self._outages.failing()][:most]
            except Exception as error:
                failing = [f"it cannot say which of its stores fail: {type(error).__name__}"]
        return Matchmaker(
            name=settings.matchmaker,
            url=masked_url(settings.url),
            away=self.away(),
            failing=failing,
            not_ready=self._not_ready(),
        )


def inspected(hello: Hello, largest: int, inspect: Callable[[int, float], dict[str, Any]]) -> dict[str, Any]:
    """
    Return the extensions of the WELCOME that answers a HELLO which asks for an inspection.

    :param largest: the largest payload that we send, bytes.
    :param inspect: tells what is going on, with so many events and in so many bytes.
    """
    asked = (hello.extensions or {}).get(INSPECT)
    events = asked if type(asked) is int and asked >= 0 else EVENTS
    try:
        return {INSPECTION: inspect(events, min(largest, hello.limits.get("message", largest)))}
    except AccessDenied as error:
        return {REFUSED: error.message}


def _descriptors() -> Iterator[LimitSeen]:
    """Tell how many file descriptors this process has open, where the system says that."""
    told = descriptors()
    if told is not None:
        yield LimitSeen(option="LimitNOFILE", used=told[0], most=told[1])


def _least(told: dict[str, Any]) -> dict[str, Any]:
    """Return what is told where names alone are too much."""
    return {**{name: told[name] for name in ("format", "kind", "instance")}, "member": ""}


def _plain(value: Any) -> Any:
    """Return what can cross the wire, of bounded size: names that are shown are those of peers and of applications."""
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        text = encodable(value)
        return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + "..."
    if isinstance(value, float):
        return round(value, 3) if isfinite(value) else None
    return min(value, _MOST_INT) if type(value) is int else value
