"""`zmqrpc inspect`: asks a node or a proxy what is in flight there, and where it is stuck."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import msgspec

from zmqrpc.cli._direct import Direct
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._members import TIMEOUT, ask_each
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report
from zmqrpc.cli._whom import whom
from zmqrpc.client import Answer
from zmqrpc.core.inspected import Inspected
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.inspection import EVENTS
from zmqrpc.inspection_text import lines
from zmqrpc.node import connect


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Show it, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration, target = whom(options, report)
    events = EVENTS if options.events is None else options.events

    async def main(reactor: Any) -> int:
        if target is None:
            answers = await Direct(reactor, options.topic, options.timeout or TIMEOUT).inspect(events)
        else:
            client = await connect(reactor, configuration.settings)
            try:
                answers = await ask_each(client, target, "inspect", options, {"events": events})
            finally:
                await client.close()
        return _tell(report, answers)

    return on_reactor(configuration, report, main)


def _tell(report: Report, answers: list[Answer]) -> int:
    told: list[Any] = []
    status = Exit.DONE
    # An instance that is several members has one inspection.
    for answer in {(each.instance, type(each.error)): each for each in reversed(answers)}.values():
        try:
            if answer.error is not None:
                raise answer.error
            seen = _checked(answer.result)
        except Exception as error:
            status = max(status, report.error(error, answer.member))
            continue
        if not report.json:
            report.lines([*([""] if told else []), *lines(seen)])
        told.append(answer.result)
    if report.json and (told or not status):
        report.result(told)
    return status


def _checked(result: Any) -> Inspected:
    """
    Read an inspection; it need not be a node of ours that gave it.

    :raises RemoteProtocolError: it is none.
    """
    try:
        return msgspec.convert(result, Inspected)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"what it answers is no inspection: {error}") from None
