"""The calls that wait until it is known who listens on their topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall
from zmqrpc.core.topic import Topic

_Call = TypeVar("_Call", bound=PendingCall)


class Parked(Generic[_Call]):
    """
    The calls of one client that wait for discovery, by the topics of their routes.

    :param most: how many may wait for one topic.
    :ivar wake_at: when `overdue` next has something; never late, perhaps early.
    """

    __slots__ = ("_most", "_topics", "wake_at")

    def __init__(self, most: int) -> None:
        self._most = most
        self._topics: dict[Topic, dict[int, _Call]] = {}
        self.wake_at = NEVER

    def __contains__(self, topic: Topic) -> bool:
        """Tell whether calls wait for a topic."""
        return topic in self._topics

    def topics(self) -> list[Topic]:
        """List the topics that calls wait for."""
        return list(self._topics)

    def on(self, topic: Topic) -> list[_Call]:
        """List the calls that wait for a topic, in the order they came."""
        return list(self._topics.get(topic, {}).values())

    def __len__(self) -> int:
        """Return how many calls wait."""
        return sum(map(len, self._topics.values()))

    def holds(self, call: _Call) -> bool:
        """Tell whether a call waits."""
        return call.route is not None and id(call) in self._topics.get(call.route.topic, {})

    def add(self, call: _Call) -> bool:
        """Have a call wait for the topic of its route; False when too many do."""
        calls = self._topics.setdefault(call.route.topic, {})
        if len(calls) >= self._most:
            return False
        calls[id(call)] = call
        self.wake_at = min(self.wake_at, call.deadline)
        return True

    def remove(self, call: _Call) -> bool:
        """Take a call out; False when it does not wait."""
        if not self.holds(call):
            return False
        topic = call.route.topic
        del self._topics[topic][id(call)]
        if not self._topics[topic]:
            del self._topics[topic]
        return True

    def overdue(self, now: float) -> list[_Call]:
        """Take out the calls whose deadline has come."""
        late = [call for call in self._all() if call.deadline <= now]
        for call in late:
            self.remove(call)
        self.wake_at = min((call.deadline for call in self._all()), default=NEVER)
        return late

    def take_all(self) -> list[_Call]:
        """Take every call out."""
        calls = list(self._all())
        self._topics.clear()
        self.wake_at = NEVER
        return calls

    def _all(self) -> Iterable[_Call]:
        for calls in self._topics.values():
            yield from calls.values()
