"""`zmqrpc notify`: sends one notification, and prints how many pools have it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report
from zmqrpc.cli._request import arguments_of, context_of
from zmqrpc.node import Node
from zmqrpc.target import Target, check_name


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Send it, print the number, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)
    target = Target(options.topic, exchange=options.exchange)
    payload = arguments_of(options.arguments)
    context = context_of(options.context)
    publisher = f"zmqrpc.{configuration.settings.host}" if options.publisher is None else options.publisher
    check_name("publisher", publisher)

    async def main(reactor: Any) -> int:
        node = Node(reactor, configuration.settings)
        notifier = node.notifier(publisher, [target])
        node.startService()
        send = getattr(notifier, options.priority)
        try:
            pools = await send(context, options.event_type, payload, timeout=options.timeout)
        finally:
            await node.stopService()
        report.result(pools)
        if not pools:
            report.note(report.missing() or f"nobody listens to {target}")
        return Exit.DONE

    return on_reactor(configuration, report, main)
