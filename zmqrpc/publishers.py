"""Which publishers the matchmaker knows, and whether it knows any where there should be some."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from zmqrpc.record import Record, Role, Sighting
from zmqrpc.spelling import first_of


class Publishers:
    """
    The publisher proxies that are recorded.

    :param found: is told where subscribers connect to them, after each change; None where nobody subscribes.
    :ivar known: whether the matchmaker has said which there are.
    :ivar changed: called when it has said so again.
    """

    log = Logger()

    def __init__(self, found: Callable[[list[str]], None] | None) -> None:
        self._found = found
        self._records: list[Record] = []
        self._routers: list[Record] = []
        self._warned: set[str] = set()
        self.known = False
        self.changed: Callable[[], None] = lambda: None

    def found(self, sightings: list[Sighting]) -> None:
        """Hear of all proxies."""
        self.known = True
        records = [sighting.record for sighting in sightings]
        self._records = [record for record in records if record.role is Role.PUBLISHER]
        self._routers = [record for record in records if record.role is Role.ROUTER]
        if self._found is None:
            self._warn_of_publishers()
        else:
            if not self._records:
                self._warn(self._routers)
            self._found(list(dict.fromkeys(record.addresses[-1] for record in self._records)))
        self.changed()

    @property
    def none_publishes(self) -> bool:
        """Whether proxies are recorded and none of them publishes: they are configured otherwise than we are."""
        return bool(self._routers) and not self._records

    def _warn_of_publishers(self) -> None:
        """Say once that proxies publish, and we do not subscribe; they say it too (`zmqrpc.disagreement`)."""
        if self._records and "publishers" not in self._warned:
            self._warned.add("publishers")
            self.log.warn(
                "use_pub_sub is false here, but proxies that are recorded publish: {proxies}; write the same for all "
                "services and proxies",
                proxies=_named(self._records),
            )

    def _warn(self, routers: list[Record]) -> None:
        """Say once that nobody publishes, and once when that is because proxies and we are set otherwise."""
        kind = "routers" if routers else "none"
        if kind in self._warned:
            return
        self._warned.add(kind)
        if routers:
            self.log.warn(
                "fan-outs are to be published (use_pub_sub), but the proxies that are recorded do not publish: "
                "{proxies}; they go to each member by themselves; set use_pub_sub for the proxies too, or not here",
                proxies=_named(routers),
            )
        else:
            self.log.warn(
                "fan-outs are to be published (use_pub_sub), but no proxy that publishes is recorded; "
                "start one (zmq-proxy with use_pub_sub)"
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
