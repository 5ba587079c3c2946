"""`zmqrpc ls`: lists the records of the matchmaker."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._listed import HEADINGS, Listed, listed
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report, aligned
from zmqrpc.errors import NoRoute
from zmqrpc.interfaces import IMatchmaker, IOutages
from zmqrpc.matchmaker import collect_skips, make_matchmaker
from zmqrpc.record import PROXIES, Record, Sighting
from zmqrpc.settings import Settings, masked_url
from zmqrpc.spelling import first_of

_AGE = HEADINGS.index("AGE")

_MOST_SKIPPED = 3
"""Of how many entries that cannot be read people are told why, for each store."""

_MOST_SKIPPED_FOR_PROGRAMS = 100


def run(command: str, options: Namespace, report: Report) -> int:
    """
    List them, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)
    settings = configuration.settings

    async def main(reactor: Any) -> int:
        sightings = await read(make_matchmaker(reactor, settings), report, settings.control_exchange, options.topic)
        found = list(listed(sightings, settings.zmq_target_update, settings.refresh_interval))
        if options.topic is not None:
            found = [each for each in found if _is_of(each.sighting.record, options.topic)]
            if not found:
                return report.error(NoRoute(f"nobody listens on {options.topic}; start a server or check the name"))
        _tell(report, options, settings, found)
        return Exit.DONE

    return on_reactor(configuration, report, main)


async def read(matchmaker: IMatchmaker, report: Report, exchange: str, topic: str | None = None) -> list[Sighting]:
    """
    Read everything, and close the matchmaker; what does not answer or cannot be read is reported.

    :param exchange: the one that counts where a topic is spoiled.
    :param topic: what is asked for alone.
    :raises MatchmakerUnavailable: no store answers, or none can read that topic.
    """
    outages: Any = IOutages(matchmaker, None)
    try:
        with collect_skips() as skipped:
            sightings: list[Sighting] = await matchmaker.records()
        if topic is not None and not any(_is_of(sighting.record, topic) for sighting in sightings):
            # A topic that cannot be read is left out of everything, and is not one that nobody listens on.
            await matchmaker.lookup(exchange, topic)
        failing: list[str] = outages.failing() if outages is not None else []
    finally:
        await matchmaker.close()
    for reason in failing:
        report.warn(f"{reason}; what is known without it is listed")
    for store, entries in skipped.items():
        _tell_skipped(report, store, [(key, why) for (key, _), why in entries.items()])
    return sightings


def _tell_skipped(report: Report, store: str, entries: list[tuple[str, str]]) -> None:
    count, some = len(entries), first_of([f"{key} ({why})" for key, why in entries], ", ", _MOST_SKIPPED)
    are, them = ("1 entry is", "it") if count == 1 else (f"{count} entries are", "them")
    report.warn(
        f"{are} skipped in {store}, which cannot be read; remove {them} there: {some}",
        store=store,
        skipped=count,
        entries=[{"key": key, "reason": why} for key, why in entries[:_MOST_SKIPPED_FOR_PROGRAMS]],
    )


def _is_of(record: Record, topic: str) -> bool:
    return topic in (record.topic, f"{record.topic}.{record.member}")


def _tell(report: Report, options: Namespace, settings: Settings, found: list[Listed]) -> None:
    records = [each.sighting.record for each in found]
    # Proxies share one that nobody calls.
    topics = sorted({record.topic for record in records if record.exchange != PROXIES[0]})
    if options.json:
        report.result(topics if options.topics else [each.description for each in found])
    elif not found:
        nobody = f"nobody is registered with the matchmaker of {masked_url(settings.url)}"
        report.note(report.missing() or nobody)
    elif options.topics:
        report.lines(topics)
    else:
        report.lines(aligned([HEADINGS, *sorted(each.row for each in found)], right=frozenset({_AGE})))
