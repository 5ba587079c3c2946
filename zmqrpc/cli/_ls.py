"""`zmqrpc ls`: lists the records of the matchmaker."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report, aligned
from zmqrpc.errors import NoRoute
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import PROXIES, Record, Sighting
from zmqrpc.settings import Settings, masked_url

_HEADINGS = ("TOPIC", "MEMBER", "ROLE", "AGE", "ADDRESS", "EXCHANGE", "INSTANCE")
_AGE = _HEADINGS.index("AGE")


def run(command: str, options: Namespace, report: Report) -> int:
    """
    List them, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)

    async def main(reactor: Any) -> int:
        matchmaker = make_matchmaker(reactor, configuration.settings)
        try:
            sightings = await matchmaker.records()
        finally:
            await matchmaker.close()
        if options.topic is not None:
            sightings = [sighting for sighting in sightings if _is_of(sighting.record, options.topic)]
            if not sightings:
                return report.error(NoRoute(f"nobody listens on {options.topic}; start a server or check the name"))
        _tell(report, options, configuration.settings, sightings)
        return Exit.DONE

    return on_reactor(configuration, report, main)


def _is_of(record: Record, topic: str) -> bool:
    return topic in (record.topic, f"{record.topic}.{record.member}")


def _tell(report: Report, options: Namespace, settings: Settings, sightings: list[Sighting]) -> None:
    # Proxies share one that nobody calls.
    topics = sorted({each.record.topic for each in sightings if each.record.exchange != PROXIES[0]})
    if options.json:
        report.result(topics if options.topics else [_described(sighting) for sighting in sightings])
    elif not sightings:
        nobody = f"nobody is registered with the matchmaker of {masked_url(settings.url)}"
        report.note(report.missing() or nobody)
    elif options.topics:
        report.lines(topics)
    else:
        report.lines(aligned([_HEADINGS, *sorted(map(_row, sightings))], right=frozenset({_AGE})))


def _row(sighting: Sighting) -> tuple[str, ...]:
    record = sighting.record
    member = f"{record.member} ({record.pool})" if record.pool else record.member
    return (
        record.topic,
        member,
        str(record.role),
        _age(sighting.age),
        ",".join(record.addresses),
        record.exchange,
        record.instance or "-",
    )


def _age(seconds: float | None) -> str:
    """Write an age so that it can be compared at a glance."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _described(sighting: Sighting) -> dict[str, Any]:
    record = sighting.record
    return {
        "role": str(record.role),
        "exchange": record.exchange,
        "topic": record.topic,
        "member": record.member,
        "instance": record.instance,
        "addresses": list(record.addresses),
        "age": round(sighting.age, 3) if sighting.age is not None else None,
        "versions": list(record.versions),
        "pool": record.pool,
        "subscribes": record.subscribes,
    }
