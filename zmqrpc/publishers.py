"""Which publishers the matchmaker knows, and which proxies are set otherwise than we are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.topic import link_key
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.spelling import first_of

SETTLE_SECONDS = 3.0
"""For how long proxies are recorded so before it counts: one that publishes has two records, and they come singly."""


class Publishers:
    """
    The publisher proxies that are recorded.

    :param found: is told where subscribers connect to them, after each change; None where nobody subscribes.
    :ivar known: whether the matchmaker has said which there are.
    :ivar changed: called when it has said so again.
    :ivar wake_at: when `sweep` has to be called next.
    """

    log = Logger()

    def __init__(self, found: Callable[[list[str]], None] | None) -> None:
        self._found = found
        self._records: list[Record] = []
        self._routers: list[Record] = []
        self._warned = False
        self._named: set[str] = set()
        self.wake_at = NEVER
        self.known = False
        self.changed: Callable[[], None] = lambda: None

    def found(self, sightings: list[Sighting], now: float) -> None:
        """Hear of all proxies."""
        self.known = True
        records = [sighting.record for sighting in sightings]
        self._records = [record for record in records if record.role is Role.PUBLISHER]
        self._routers = [record for record in records if record.role is Role.ROUTER]
        self.wake_at = now + SETTLE_SECONDS if self._new() else NEVER
        if self._found is not None:
            if not records:
                self._warn()
            self._found(list(dict.fromkeys(record.addresses[-1] for record in self._records)))
        self.changed()

    @property
    def none_publishes(self) -> bool:
        """Whether proxies are recorded and none of them publishes: they are configured otherwise than we are."""
        return bool(self._routers) and not self._records

    def _warn(self) -> None:
        """Say once that no proxy is recorded."""
        if not self._warned:
            self._warned = True
            self.log.warn(
                "fan-outs are to be published (use_pub_sub), but no proxy that publishes is recorded; "
                "start one (zmq-proxy with use_pub_sub)"
            )

    # Who is set otherwise

    def _new(self) -> list[Record]:
        """List those that are set otherwise than we are, and were not named yet: each host is named once."""
        if self._found is None:
            differing = self._records
        else:
            publishing = set(map(link_key, self._records))
            differing = [record for record in self._routers if link_key(record) not in publishing]
        # Through those of a fixed table, which have no instance, nobody goes anyway.
        return [record for record in differing if record.instance and record.member not in self._named]

    def sweep(self, now: float) -> None:
        """Name the proxies that are set otherwise; they do the same (`zmqrpc.disagreement`)."""
        if now < self.wake_at:
            return
        self.wake_at = NEVER
        new = self._new()
        self._named.update(record.member for record in new)
        if not new:
            return
        if self._found is None:
            self.log.warn(
                "use_pub_sub is false here, but proxies that are recorded publish: {proxies}; write the same for all "
                "services and proxies",
                proxies=_named(new),
            )
        elif self._records:
            self.log.warn(
                "use_pub_sub is true here, but some of the proxies that are recorded do not publish: {proxies}; "
                "fan-outs go by the others; write the same for all services and proxies",
                proxies=_named(new),
            )
        else:
            self.log.warn(
                "fan-outs are to be published (use_pub_sub), but the proxies that are recorded do not publish: "
                "{proxies}; they go to each member by themselves; set use_pub_sub for the proxies too, or not here",
                proxies=_named(new),
            )

    @property
    def missing(self) -> str:
        """Which publishers are recorded, as a clause that says what to do when none of them is up."""
        if self._records:
            return f"look after those that are recorded: {_named(self._records)}"
        if self._routers:
            return f"those proxies that are recorded do not publish, set use_pub_sub for them: {_named(self._routers)}"
        if not self.known:
            return "the matchmaker has not said yet which there are, look after it"
        return "none is recorded in the matchmaker, start one (zmq-proxy with use_pub_sub)"


def _named(records: Iterable[Record]) -> str:
    return first_of(list(dict.fromkeys(f"{record.member} at {record.addresses[0]}" for record in records)), "; ")
