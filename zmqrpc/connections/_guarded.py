"""A strategy of somebody else: what it raises is logged, and stops neither calls nor discovery."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.core.agenda import NEVER
from zmqrpc.interfaces import IConnectionStrategy
from zmqrpc.record import Record


@implementer(IConnectionStrategy)
class Guarded:
    """
    Tells a strategy what it is told.

    :param strategy: that of a plugin.
    :param name: of the plugin.
    """

    log = Logger()

    def __init__(self, strategy: IConnectionStrategy, name: str) -> None:
        self.name = name
        self.transient = bool(strategy.transient)
        self._strategy = strategy
        self._said = False

    def appeared(self, key: str, record: Record) -> None:
        self._tell(self._strategy.appeared, key, record)

    def gone(self, key: str) -> None:
        self._tell(self._strategy.gone, key)

    def needed(self, key: str, others: Iterable[str]) -> None:
        self._tell(self._strategy.needed, key, others)

    def opened(self, key: str) -> None:
        self._tell(self._strategy.opened, key)

    def idle(self, key: str) -> None:
        self._tell(self._strategy.idle, key)

    def closed(self, key: str) -> None:
        self._tell(self._strategy.closed, key)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next: never, said once, where the strategy cannot tell."""
        try:
            wake_at: float = self._strategy.wake_at
            if wake_at <= NEVER:
                return wake_at
            # NaN, which is earlier and later than nothing.
            raise ValueError(f"it is {wake_at!r}")
        except Exception:
            if not self._said:
                self._said = True
                self.log.failure(
                    "the wake_at of the connection strategy {name} is of no use, it is not swept", name=self.name
                )
        return NEVER

    def sweep(self, now: float) -> None:
        """Do what time asks for."""
        self._tell(self._strategy.sweep, now)

    def _tell(self, hear: Callable[..., None], *what: Any) -> None:
        try:
            hear(*what)
        except Exception:
            self.log.failure("the connection strategy {name} failed", name=self.name)
