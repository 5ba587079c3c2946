"""
Through which router proxy a client reaches an instance.

Any number of proxies may stand between; a client needs one for each instance, and keeps it while it lives, so that
order holds. Proxies know nothing of each other. Whoever asks for an instance where it is not connected (any more, or
yet) is told so, and asks the next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from zmqrpc.core.agenda import NEVER

ASK_AGAIN_SECONDS = 0.1
"""Seconds until proxies are asked again when none knows an instance: servers find a new one a moment after clients."""

ASK_SECONDS = 1.0
"""Seconds after which they are not asked again."""


class Through(NamedTuple):
    """
    A way to an instance through a proxy: what stands for it in place of the routing id of a connection of its own.

    :ivar connection: routing id of our connection to the proxy.
    :ivar instance: the instance behind it.
    """

    connection: bytes
    instance: bytes

    def __str__(self) -> str:
        """Name both in hex, for the log."""
        return f"{self.instance.hex()} through {self.connection.hex()}"


Identity: TypeAlias = bytes | Through
"""By what one knows who is at the other end: a connection of its own, or a way through a proxy."""


def choose(client: bytes, instance: bytes, proxies: Collection[str]) -> str | None:
    """
    Choose a proxy, always the same one of the same ones; None when there is none.

    By rendezvous hashing (Thaler and Ravishankar, 1998): the instances are spread evenly, those of different clients
    differently, and of all choices only those of a proxy that goes or comes change.

    :param client: our own instance.
    :param instance: whom it is for.
    """
    return max(proxies, key=lambda proxy: blake2b(client + instance + proxy.encode()).digest(), default=None)


class Search(Struct):
    """
    One try of a link to reach its instance through some proxy.

    :ivar attempt: of which connection of the link.
    :ivar until: when the proxies are asked for the last time.
    :ivar refused: the proxies that do not know the instance.
    :ivar again_at: when all are asked once more; infinity while one is asked.
    """

    attempt: int
    until: float
    refused: set[str]
    again_at: float = NEVER

    @classmethod
    def begun(cls, attempt: int, now: float) -> Search:
        """Begin."""
        return cls(attempt, now + ASK_SECONDS, set())

    def next(self, client: bytes, instance: bytes, tiers: Sequence[Collection[str]], now: float) -> str | None:
        """
        Choose whom to ask next.

        :param tiers: the proxies that are up, in groups, those that are preferred first.
        :return: None when each has been asked; then `again_at` says when to begin anew, infinity when it is in vain.
        """
        for tier in tiers:
            proxy = choose(client, instance, [each for each in tier if each not in self.refused])
            if proxy is not None:
                self.again_at = NEVER
                return proxy
        again_at = now + ASK_AGAIN_SECONDS
        self.again_at = again_at if again_at <= self.until else NEVER
        return None
