"""What the members of a simulated system do: they write down that they run."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zmqrpc import REQUEUE, expose
from zmqrpc.errors import RemoteError
from zmqrpc.testing import History, MemoryNode


class Endpoint:
    """
    Answers calls, and hears notifications.

    :param member: its member; as a listener it is the only one of a pool of that name.
    :param chance: decides how long a method takes.
    """

    def __init__(self, history: History, node: MemoryNode, member: str, chance: Random) -> None:
        self._history = history
        self._node = node
        self._member = member
        self._chance = chance

    def _ran(self, number: int) -> list[Any]:
        return self._history.ran(number, self._member, self._node.instance.hex())

    @expose
    def quick(self, context, number, ballast=None):
        return self._ran(number)

    @expose
    def slow(self, context, number, ballast=None):
        return self._after(self._ran(number))

    @expose
    def broken(self, context, number, ballast=None):
        raise RemoteError("Broken", str(self._ran(number)))

    def info(self, context, publisher_id, event_type, payload, metadata):
        self._ran(payload["number"])
        return REQUEUE if self._chance.random() < 0.1 else None

    def warn(self, context, publisher_id, event_type, payload, metadata):
        self._ran(payload["number"])
        return self._after(None)

    def _after(self, answer: Any) -> Deferred[Any]:
        return deferLater(self._node.clock, self._chance.uniform(0, 1.5), lambda: answer)
