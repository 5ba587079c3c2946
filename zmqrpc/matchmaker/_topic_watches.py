"""The watches of one matchmaker."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmqrpc.interfaces import Changed
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.record import Record, Sighting

Show = Callable[[TopicKey, list[Sighting]], None]
"""Takes a topic and its records."""


@attrs.define(eq=False)
class _Watch:
    changed: Changed
    told: int = 0  # the serial it was told last
    ended: bool = False


@attrs.define(eq=False)
class _Watched:
    """One topic that is watched; `serial` counts its different contents, 0 is: nothing known yet."""

    watches: list[_Watch] = attrs.field(factory=list)
    serial: int = 0
    content: list[Sighting] = attrs.field(factory=list)
    records: list[Record] = attrs.field(factory=list)
    call: IDelayedCall | None = None


class TopicWatches:
    """
    Who wants to hear about which topic, and what each was last told.

    The matchmaker calls `publish` whenever it has read a topic, changed or not; a watch hears of it, from the reactor
    and never from within `publish`, when the records differ from what it was told. Several changes become one call.

    :param clock: what runs the calls.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._topics: dict[TopicKey, _Watched] = {}

    def __contains__(self, topic: TopicKey) -> bool:
        return topic in self._topics

    def add(self, topic: TopicKey, changed: Changed) -> Callable[[], None]:
        """
        Add a watch; it hears what the next `publish` of the topic says.

        :return: a callable that ends the watch; calling it again does nothing.
        """
        watched = self._topics.setdefault(topic, _Watched())
        watch = _Watch(changed)
        watched.watches.append(watch)

        def stop() -> None:
            if watch.ended:
                return
            watch.ended = True
            watched.watches.remove(watch)
            if not watched.watches:
                self._drop(self._topics.pop(topic))

        return stop

    def publish(self, topic: TopicKey, sightings: list[Sighting]) -> None:
        """Take what the topic holds now; nothing happens when nobody watches it."""
        watched = self._topics.get(topic)
        if watched is None:
            return
        records = [sighting.record for sighting in sightings]
        if watched.serial == 0 or records != watched.records:
            watched.serial += 1
            watched.records = records
        watched.content = sightings
        if watched.call is None and any(watch.told != watched.serial for watch in watched.watches):
            watched.call = self._clock.callLater(0, self._tell, watched)

    def shown(self, topic: TopicKey) -> list[Sighting] | None:
        """Return what was published of a topic last; None when nobody watches it, or nothing was."""
        watched = self._topics.get(topic)
        return watched.content if watched is not None and watched.serial else None

    def close(self) -> None:
        """End every watch."""
        while self._topics:
            _, watched = self._topics.popitem()
            for watch in watched.watches:
                watch.ended = True
            self._drop(watched)

    def _tell(self, watched: _Watched) -> None:
        watched.call = None
        for watch in list(watched.watches):
            if watch.ended or watch.told == watched.serial:
                continue
            watch.told = watched.serial
            try:
                watch.changed(list(watched.content))
            except Exception:
                self._log.failure("A watch raised")

    @staticmethod
    def _drop(watched: _Watched) -> None:
        if watched.call is not None:
            watched.call.cancel()
            watched.call = None
