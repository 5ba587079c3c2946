"""The calls that wait until it is known who listens on their topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall
from zmqrpc.core.queue import CallQueue
from zmqrpc.core.topic import Topic

_Call = TypeVar("_Call", bound=PendingCall)


class Parked(Generic[_Call]):
    """
    The calls of one client that wait for discovery, by the topics of their routes.

    :param most_calls: how many may wait for one topic.
    :param most_bytes: how many bytes of encoded requests.
    :ivar wake_at: when `overdue` next has something; never late, perhaps early.
    """

    __slots__ = ("_most_bytes", "_most_calls", "_topics", "wake_at")

    def __init__(self, most_calls: int, most_bytes: int) -> None:
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._topics: dict[Topic, CallQueue[_Call]] = {}
        self.wake_at = NEVER

    def __contains__(self, topic: Topic) -> bool:
        """Tell whether calls wait for a topic."""
        return topic in self._topics

    def topics(self) -> list[Topic]:
        """List the topics that calls wait for."""
        return list(self._topics)

    def on(self, topic: Topic) -> list[_Call]:
        """List the calls that wait for a topic, in the order they came."""
        return list(self._topics.get(topic, ()))

    def bytes_on(self, topic: Topic) -> int:
        """Tell how many bytes of encoded requests wait for a topic."""
        return self._topics[topic].bytes if topic in self._topics else 0

    def __len__(self) -> int:
        """Return how many calls wait."""
        return sum(map(len, self._topics.values()))

    def holds(self, call: _Call) -> bool:
        """Tell whether a call waits."""
        return call.route is not None and call in self._topics.get(call.route.topic, ())

    def add(self, call: _Call) -> bool:
        """Have a call wait for the topic of its route; False when there is no room."""
        topic = call.route.topic
        calls = self._topics.get(topic) or CallQueue(self._most_calls, self._most_bytes)
        if not calls.add(call):
            return False
        self._topics[topic] = calls
        self.wake_at = min(self.wake_at, call.deadline)
        return True

    def remove(self, call: _Call) -> bool:
        """Take a call out; False when it does not wait."""
        if not self.holds(call):
            return False
        topic = call.route.topic
        self._topics[topic].remove(call)
        self._forget_if_empty(topic)
        return True

    def overdue(self, now: float) -> list[_Call]:
        """Take out the calls whose deadline has come."""
        late: list[_Call] = []
        for topic, calls in list(self._topics.items()):
            late += calls.overdue(now)
            self._forget_if_empty(topic)
        self.wake_at = min((calls.wake_at for calls in self._topics.values()), default=NEVER)
        return late

    def take_all(self) -> list[_Call]:
        """Take every call out."""
        calls = list(self._all())
        self._topics.clear()
        self.wake_at = NEVER
        return calls

    def _forget_if_empty(self, topic: Topic) -> None:
        if not self._topics[topic]:
            del self._topics[topic]

    def _all(self) -> Iterable[_Call]:
        for calls in self._topics.values():
            yield from calls
