"""What clients and notifiers of a `MemoryNode` were asked and have not answered, for the text of a test that fails."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from reprlib import Repr
from typing import Any

from twisted.internet.defer import Deferred

from zmqrpc.client import RPCClient
from zmqrpc.core.notification import PRIORITIES
from zmqrpc.notifier import Notifier
from zmqrpc.target import Target
from zmqrpc.waiter import Waiter

_ASKING = ("call", "cast", "fanout", "call_each", "members")
"""The methods of a client that ask something of others."""

_PRUNE_ABOVE = 64

Where = Callable[[Waiter, float], str]
"""Says where a call is stuck at a time, as `zmqrpc.whereabouts` does."""

_short = Repr()
_short.maxstring = _short.maxother = 80


def spell(method: str, arguments: object) -> str:
    """Write a call as in Python, long values shortened; arguments that are no dict are written as they are."""
    if arguments is None:
        return f"{method}()"
    if not isinstance(arguments, dict):
        return f"{method}({_short.repr(arguments)})"
    return f"{method}({', '.join(f'{name}={_short.repr(value)}' for name, value in arguments.items())})"


class Asked:
    """
    One thing that a client was asked, and how far it got.

    :param where: says where a call is stuck.
    :ivar deferred: the Deferred that the client returned.
    """

    def __init__(
        self,
        what: str,
        target: object,
        method: str | None,
        args: Any,
        began: float,
        deferred: Deferred[Any],
        where: Where,
    ) -> None:
        self.deferred = deferred
        self._what = what
        self._target = target
        self._method = method
        self._args = args
        self._began = began
        self._where = where

    def __str__(self) -> str:
        """Return what was asked."""
        if self._method is None:
            return f"{self._what} of {self._target}"
        return f"{self._what} of {spell(self._method, self._args)} at {self._target}"

    @property
    def ended(self) -> bool:
        """Whether its caller has been told the end."""
        return bool(self.deferred.called) and not isinstance(self.deferred.result, Deferred)

    def describe(self, now: float) -> str:
        """Say what it is, how old it is and how far it got."""
        age = f"{self}, {now - self._began:.4g} s old"
        if not isinstance(self.deferred, Waiter):
            return age
        return f"{age}: {self.deferred.stage.name.lower()}, {self._where(self.deferred, now)}"


class AskedLog:
    """
    Everything that the clients and notifiers of one process were asked and that has not ended.

    :param seconds: tells the time.
    :param where: says where a call is stuck.
    """

    def __init__(self, seconds: Callable[[], float], where: Where) -> None:
        self._where = where
        self._seconds = seconds
        self._all: list[Asked] = []
        self._prune_above = _PRUNE_ABOVE

    def follow(self, client: RPCClient) -> None:
        """Hear of everything that a client is asked from now on."""
        for name in _ASKING:
            send = getattr(client, name, None)
            if send is not None:
                setattr(client, name, self._noting(name, send))

    def follow_notifier(self, notifier: Notifier) -> None:
        """Hear of every notification that a notifier sends from now on."""
        for priority in PRIORITIES:
            setattr(notifier, priority, self._noting_notifications(priority, notifier, getattr(notifier, priority)))

    def open(self) -> list[Asked]:
        """List what has not ended, in the order in which it was asked."""
        return [asked for asked in self._all if not asked.ended]

    def find(self, deferred: Deferred[Any]) -> Asked | None:
        """Find what a Deferred was given out for."""
        return next((asked for asked in self._all if asked.deferred is deferred), None)

    def _noting(self, what: str, send: Callable[..., Deferred[Any]]) -> Callable[..., Deferred[Any]]:
        def ask(target: Target, *arguments: Any, **options: Any) -> Deferred[Any]:
            deferred = send(target, *arguments, **options)
            method, args = islice((*arguments, None, None), 2)
            method, args = options.get("method", method), options.get("args", args)
            return self._note(Asked(what, target, method, args, self._seconds(), deferred, self._where))

        return ask

    def _noting_notifications(
        self, priority: str, notifier: Notifier, send: Callable[..., Deferred[int]]
    ) -> Callable[..., Deferred[int]]:
        topics = ", ".join(f"{pool.exchange}/{pool.topic}" for pool in notifier.topics)

        def notify(context: Any, event_type: str, payload: Any, **options: Any) -> Deferred[int]:
            deferred = send(context, event_type, payload, **options)
            what = f"the notification ({priority})"
            return self._note(Asked(what, topics, event_type, payload, self._seconds(), deferred, self._where))

        return notify

    def _note(self, asked: Asked) -> Deferred[Any]:
        self._all.append(asked)
        if len(self._all) > self._prune_above:
            self._all = self.open()
            self._prune_above = max(_PRUNE_ABOVE, 2 * len(self._all))
        return asked.deferred
