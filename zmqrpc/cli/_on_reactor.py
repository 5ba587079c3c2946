"""Runs a command on the reactor."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning

from zmqrpc.cli._exit import Exit
from zmqrpc.cli._report import Report
from zmqrpc.configuration import Configuration
from zmqrpc.errors import Cancelled, ConfigError
from zmqrpc.matchmaker import find_factory
from zmqrpc.node import use_monotonic_clock
from zmqrpc.signals import StopSignals


def on_reactor(configuration: Configuration, report: Report, main: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """
    Run `main` with the reactor, and return the exit status.

    Ctrl-C and SIGTERM cancel what it waits for. What it raises is reported.
    """
    try:
        factory = find_factory(configuration.settings.matchmaker)
    except ConfigError as error:
        return report.refuse(configuration.located(error))
    absence_of = getattr(factory, "absence_of", None)
    if absence_of is not None:
        report.absence = partial(absence_of, configuration.settings.url)
    reactor = _reactor(factory.local)
    use_monotonic_clock(reactor)
    statuses: list[int] = []

    async def run() -> None:
        try:
            statuses.append(await main(reactor))
        except ConfigError as error:
            statuses.append(report.refuse(configuration.located(error)))
        except BrokenPipeError:
            statuses.append(Exit.READER_LEFT)
        except Exception as error:
            if isinstance(error, CancelledError) and not isinstance(error, Cancelled):
                error = Cancelled("interrupted before there was an answer")
            statuses.append(report.error(error))
        finally:
            with suppress(ReactorNotRunning):  # it is stopping already after Ctrl-C
                reactor.stop()

    def start() -> None:
        running = Deferred.fromCoroutine(run())

        def interrupt() -> Deferred[None]:
            running.cancel()
            return running

        reactor.addSystemEventTrigger("before", "shutdown", interrupt)

    # What was imported is no garbage; what a long run makes may be.
    gc.freeze()
    gc.enable()
    StopSignals(reactor).watch()
    reactor.callWhenRunning(start)
    reactor.run()
    return statuses[0] if statuses else Exit.UNEXPECTED


def _reactor(local: bool) -> Any:
    """
    Install the reactor.

    With its TCP connections Twisted loads OpenSSL where it can, which takes a fifth of the time that a command needs to
    start. A matchmaker of this machine has no use for it.
    """
    spared = local and "OpenSSL" not in sys.modules
    if spared:
        sys.modules["OpenSSL"] = None  # type: ignore[assignment]
    try:
        from twisted.internet import reactor
    finally:
        if spared:
            del sys.modules["OpenSSL"]
    return reactor
