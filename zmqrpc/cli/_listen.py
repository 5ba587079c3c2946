"""`zmqrpc listen`: prints notifications until it is stopped."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report
from zmqrpc.core.notification import PRIORITIES, REQUEUE, Handled
from zmqrpc.node import Node
from zmqrpc.target import Target, check_name

_PATIENCE = 3.0
"""Seconds after which people are told that nobody can find it yet."""


class Printer:
    """
    Prints the notifications of one topic; `_printing` gives it a method for each priority.

    :param print_it: prints one.
    :param failed: told when it cannot be printed.
    """

    def __init__(self, topic: str, print_it: Callable[[Any], None], failed: Callable[[OSError], None]) -> None:
        self._topic = topic
        self._print = print_it
        self._failed = failed

    def take(
        self, priority: str, context: Any, publisher_id: str, event_type: str, payload: Any, metadata: Any
    ) -> Handled | None:
        """Print one; what cannot be printed is given back, for others."""
        said = {"topic": self._topic, "priority": priority, "publisher_id": publisher_id, "event_type": event_type}
        try:
            self._print({**said, "payload": payload, "context": context, **metadata})
        except OSError as error:
            self._failed(error)
            return REQUEUE
        return None


def _printing(priority: str) -> Callable[..., Handled | None]:
    def method(
        self: Printer, context: Any, publisher_id: str, event_type: str, payload: Any, metadata: Any
    ) -> Handled | None:
        return self.take(priority, context, publisher_id, event_type, payload, metadata)

    return method


for _priority in PRIORITIES:
    setattr(Printer, _priority, _printing(_priority))


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Print them, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)
    if options.pool is not None:
        check_name("pool", options.pool)
    targets = [Target(topic, exchange=options.exchange) for topic in dict.fromkeys(options.topic)]

    async def main(reactor: Any) -> int:
        ended: Deferred[int] = Deferred()

        def failed(error: OSError) -> None:
            if not ended.called:
                ended.errback(error)

        node = Node(reactor, configuration.settings)
        for target in targets:
            node.listener([target], [Printer(target.topic or "", report.result, failed)], options.pool)
        node.startService()

        def tell_hidden() -> None:
            report.note(f"not registered yet, so that nobody can find it: {node.not_ready}")

        hidden = reactor.callLater(_PATIENCE, tell_hidden)

        def tell(_: object) -> None:
            if hidden.active():
                hidden.cancel()
            names = ", ".join(str(target) for target in targets)
            pool = "the pool without a name" if options.pool is None else f"pool {options.pool}"
            report.note(f"listening to {names} at {node.address}, {pool}")

        node.when_ready().addCallbacks(tell, lambda _: None)
        try:
            return await ended
        except CancelledError:
            return Exit.DONE
        finally:
            if hidden.active():
                hidden.cancel()
            await node.stopService()

    return on_reactor(configuration, report, main)
