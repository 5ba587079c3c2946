"""One direction of a connection of the network in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.interfaces import IDelayedCall

if TYPE_CHECKING:
    from zmqrpc.testing.wiring import Path, Wiring


class Mark(Enum):
    """
    What a pipe carries beside messages.

    :cvar OPEN: the wish to connect, or that it is granted.
    :cvar REFUSED: that nobody listens there.
    :cvar END: that the other end is gone.
    """

    OPEN = "open"
    REFUSED = "refused"
    END = "end"


Message: TypeAlias = "bytes | tuple[bytes, ...]"
"""A message of one frame, or the frames of one."""

Item: TypeAlias = "Message | Mark"


class Pipe:
    """
    One direction of a connection: delivers in order what is written to it, when its path lets it.

    :param path: the way that it takes.
    :param arrived: takes what arrives.
    :param held: is told that the path is cut while something is under way.
    :ivar unread: how many messages were written and not read.
    """

    def __init__(self, network: Wiring, path: Path, arrived: Callable[[Item], None], held: Callable[[], None]) -> None:
        self.path = path
        self.unread = 0
        self._network = network
        self._arrived = arrived
        self._held = held
        self._items: deque[tuple[float, Item]] = deque()
        self._call: IDelayedCall | None = None
        self._ended = False

    @property
    def stalled(self) -> bool:
        """Whether something waits for the path to heal."""
        return self.path.cut and bool(self._items)

    def write(self, item: Item) -> None:
        """Send an item on its way."""
        if self._ended:
            return
        self._ended = item is Mark.END or item is Mark.REFUSED
        self._append(item)
        chance, weather = self._network.chance, self.path.weather
        if weather.duplication and type(item) is not Mark and chance.random() < weather.duplication:
            self._network.clock.callLater(chance.uniform(*weather.delay) * 3, self._again, item)

    def cut_short(self) -> None:
        """End it as its writer dies: a part of what is under way still arrives, chance says how much."""
        if not self._ended:
            keep = self._network.chance.randint(0, len(self._items))
            while len(self._items) > keep:
                self._items.pop()
            self.write(Mark.END)

    def drop(self) -> None:
        """Let nothing arrive any more."""
        self._ended = True
        self._items.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def heal(self) -> None:
        """Go on with what the cut path has held."""
        if self._call is None and self._items and not self.path.cut:
            delay = self._network.chance.uniform(*self.path.weather.delay)
            self._call = self._network.clock.callLater(delay, self._due)

    def _again(self, item: Item) -> None:
        if not self._ended:
            self._append(item)

    def _append(self, item: Item) -> None:
        network, path = self._network, self.path
        now = network.clock.seconds()
        arrival = now + network.chance.uniform(*path.weather.delay)
        if self._items:
            arrival = max(arrival, self._items[-1][0])
        if type(item) is not Mark:
            self.unread += 1
        self._items.append((arrival, item))
        if path.cut or path.back.cut:
            # Either way the acknowledgement does not come back.
            self._held()
        if self._call is None and not path.cut:
            self._call = network.clock.callLater(max(0.0, self._items[0][0] - now), self._due)

    def _due(self) -> None:
        self._call = None
        items, path, network = self._items, self.path, self._network
        while items and not path.cut:
            wait = items[0][0] - network.clock.seconds()
            if wait > 0:
                self._call = network.clock.callLater(wait, self._due)
                return
            item = items.popleft()[1]
            if item is Mark.END:
                items.clear()
            if type(item) is not Mark and path.weather.loss and network.chance.random() < path.weather.loss:
                self.unread -= 1
                network.note("lost", path)
                continue
            network.note("arrived", path, item)
            self._arrived(item)
        if items:
            self._held()
