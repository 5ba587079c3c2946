"""Who wants to hear of every change among those who listen on a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.route import Route
from zmqrpc.core.topic import Knowledge, Topic
from zmqrpc.errors import ConfigError

MembersChanged: TypeAlias = Callable[[list[tuple[str, str]]], Any]
"""What a watch calls: with (member, instance) of everybody who listens, as `RPCClient.members` lists them."""


class _Watch:
    """
    One watch of one route.

    :ivar told: what it was called with last; None before the first call.
    :ivar ended: whether it is called no more.
    """

    def __init__(self, route: Route, changed: MembersChanged) -> None:
        self.route = route
        self.changed = changed
        self.told: list[tuple[str, str]] | None = None
        self.ended = False


class Watches:
    """
    The watches of one node.

    They are called by the sweep and not where a change is noticed: so changes are merged, and whatever a watch does is
    done when everything else has settled.

    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    """

    log = Logger()

    def __init__(self, seconds: Callable[[], float], wake_by: Callable[[float], None]) -> None:
        self._seconds = seconds
        self._wake_by = wake_by
        self._watches: list[_Watch] = []
        self.wake_at = NEVER

    def add(self, route: Route, changed: MembersChanged) -> Callable[[], None]:
        """
        Call `changed` once soon and after each change, and keep the route.

        :return: a callable that ends that; calling it again does nothing.
        :raises ConfigError: `changed` cannot be called.
        """
        if not callable(changed):
            raise ConfigError(f"the callback {changed!r} of a watch cannot be called; give a function of one argument")
        watch = _Watch(route, changed)
        self._watches.append(watch)
        route.holders += 1
        self.changed(route.topic)

        def end() -> None:
            if not watch.ended:
                watch.ended = True
                self._watches.remove(watch)
                route.holders -= 1

        return end

    def topics(self) -> list[Topic]:
        """List the topics that are watched."""
        return list(dict.fromkeys(watch.route.topic for watch in self._watches))

    def changed(self, topic: Topic | None = None) -> None:
        """Take that something may have changed, on one topic or anywhere."""
        if any(topic in (None, watch.route.topic) for watch in self._watches):
            self.wake_at = self._seconds()
            self._wake_by(self.wake_at)

    def close(self) -> None:
        """Call nobody any more."""
        for watch in self._watches:
            watch.ended = True
        self._watches.clear()

    def sweep(self, now: float) -> None:
        """Tell those for whom something has changed."""
        self.wake_at = NEVER
        for watch in list(self._watches):
            # One before it may have ended it, or closed all.
            if watch.ended or watch.route.topic.knowledge is Knowledge.UNKNOWN:
                continue
            listed = watch.route.listed()
            if listed != watch.told:
                # The callback may keep its list and change it.
                watch.told = list(listed)
                told = maybeDeferred(watch.changed, listed)
                told.addErrback(
                    lambda failure, target: self.log.failure("a watch of {target} raised", failure, target=target),
                    str(watch.route.target),
                )
