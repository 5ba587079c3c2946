"""
Through which router proxy a client reaches an instance.

Any number of proxies may stand between; a client needs one for each instance, and keeps it while it lives, so that
order holds. Proxies know nothing of each other. Whoever asks for an instance where it is not connected (any more, or
yet) is told so, and asks the next; and so does who is told nothing: the proxy may be silent for a moment, or gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from msgspec import Struct, field

from zmqrpc.core.agenda import NEVER

ASK_AGAIN_SECONDS = 0.1
"""Seconds until proxies are asked again when none knows an instance: servers find a new one a moment after clients."""

ASK_SECONDS = 1.0
"""Seconds after which they are not asked again."""

ANSWER_SECONDS = 0.25
"""Seconds that an answer is waited for before the next is asked."""


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
    :ivar until: when another proxy is asked for the last time.
    :ivar refused: the proxies that do not know the instance.
    :ivar silent: those that have not answered in time, or the instance behind them.
    :ivar asked: the proxy whose answer is waited for; None when all have been asked.
    :ivar asked_at: since when.
    :ivar chosen: the proxy that was asked last, also when its answer is not waited for any more; for error texts.
    :ivar again_at: when to ask on, as `go_on` says; infinity for never.
    """

    attempt: int
    until: float
    refused: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    asked: str | None = None
    asked_at: float = -NEVER
    chosen: str | None = None
    again_at: float = NEVER

    @classmethod
    def begun(cls, attempt: int, now: float) -> Search:
        """Begin."""
        return cls(attempt, now + ASK_SECONDS)

    def next(self, client: bytes, instance: bytes, tiers: Sequence[Collection[str]], now: float) -> str | None:
        """
        Choose whom to ask next.

        :param tiers: the proxies that are up, in groups, those that are preferred first.
        :return: None when each has been asked.
        """
        self.asked = None
        self.asked_at = now
        for tier in tiers:
            left = [each for each in tier if each not in self.refused and each not in self.silent]
            self.asked = choose(client, instance, left)
            if self.asked is not None:
                self.chosen = self.asked
                break
        # One alone is asked once: it has the HELLO.
        again = self.asked is not None or self.refused or len(self.silent) > 1
        again_at = now + (ASK_AGAIN_SECONDS if self.asked is None else ANSWER_SECONDS)
        self.again_at = again_at if again and again_at <= self.until else NEVER
        return self.asked

    def go_on(self) -> None:
        """Wait no longer for who was asked; or ask all once more, when all have been."""
        if self.asked is not None:
            self.silent.add(self.asked)
        else:
            self.refused.clear()
            self.silent.clear()
