"""The topic-keys that something was published under, and at which numbers they go on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Set
from itertools import islice

from zmqrpc.core.outgoing import OutgoingTopic

_FORGOTTEN_FOR_EACH = 10
"""For each topic-key that is remembered at most, of how many that were forgotten the next number is."""


class OutgoingTopics:
    """
    What is published under each topic-key.

    :param most: how many are remembered, beside those that have something under way; of ten times as many only the
        next number, and what is forgotten altogether goes on where the highest numbers were.
    :param given: tells of which something is at publishers.
    :ivar known: those that are remembered, by topic-key; only read.
    """

    def __init__(self, most: int, given: Callable[[], Set[OutgoingTopic]]) -> None:
        self.known: dict[bytes, OutgoingTopic] = {}
        self._most = most
        self._given = given
        self._forgotten: OrderedDict[bytes, int] = OrderedDict()
        self._first_number = 1

    def remember(self, key: bytes) -> OutgoingTopic:
        """Take one that is not known."""
        if len(self.known) >= self._most:
            self._forget()
        topic = self.known[key] = OutgoingTopic(key, self._forgotten.pop(key, self._first_number))
        return topic

    def _forget(self) -> None:
        """Make room for one: forget those with nothing under way, beginning with the one that was made first."""
        given = self._given()
        idle = (key for key, topic in self.known.items() if not (topic.waiting or topic.kept or topic in given))
        for key in list(islice(idle, len(self.known) - self._most + 1)):
            self._forgotten[key] = self.known.pop(key).next_number
        while len(self._forgotten) > _FORGOTTEN_FOR_EACH * self._most:
            _, number = self._forgotten.popitem(last=False)
            self._first_number = max(self._first_number, number)
