"""Sends one message, and prints what became of it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning

from zmqrpc.cli._exit import Exit, exit_for
from zmqrpc.cli._json import to_json
from zmqrpc.cli._parser import Request
from zmqrpc.client import Reached, RPCClient
from zmqrpc.node import connect, use_monotonic_clock
from zmqrpc.signals import StopSignals


def send(request: Request) -> int:
    """Send it, print the outcome, and return the exit status."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    use_monotonic_clock(reactor)
    statuses: list[int] = []

    async def run() -> None:
        try:
            statuses.append(await _outcome(reactor, request))
        finally:
            with suppress(ReactorNotRunning):  # it is stopping already after Ctrl-C
                reactor.stop()

    def start() -> None:
        running = Deferred.fromCoroutine(run())

        def interrupt() -> Deferred[None]:
            running.cancel()
            return running

        reactor.addSystemEventTrigger("before", "shutdown", interrupt)

    StopSignals(reactor).watch()
    reactor.callWhenRunning(start)
    reactor.run()
    return statuses[0] if statuses else Exit.UNEXPECTED


async def _outcome(reactor: Any, request: Request) -> int:
    try:
        client = await connect(reactor, request.settings)
        try:
            result = await _start(client, request)
        finally:
            await client.close()
    except Exception as error:
        return _say_error(request, error)
    reached = isinstance(result, Reached)
    try:
        _print(_reached(result) if reached else result)
    except OSError as error:
        # A full disk, or a reader that has left. What is buffered would raise once more at the end.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return _say_error(request, error)
    if not reached:
        return Exit.DONE
    statuses = [_say_error(request, error, member) for member, _, error in result.missing]
    return max(statuses, default=Exit.DONE)


def _print(value: Any) -> None:
    try:
        print(to_json(value), flush=True)
    except UnicodeEncodeError:
        print(to_json(value, ascii_only=True), flush=True)


def _start(client: RPCClient, request: Request) -> Deferred[Any]:
    act = {"call": client.call, "cast": client.cast, "fanout": client.fanout}[request.command]
    return act(
        request.target,
        request.method,
        request.arguments,
        timeout=request.timeout,
        context=request.context,
        wait_for_ready=request.wait,
    )


def _reached(result: Reached) -> dict[str, Any]:
    return {
        "members": [{"member": member, "instance": instance} for member, instance in result.members],
        "missing": [
            {"member": member, "instance": instance, **_described(error)} for member, instance, error in result.missing
        ],
    }


def _say_error(request: Request, error: Exception, who: str | None = None) -> int:
    status = exit_for(error)
    if request.json_errors:
        line = json.dumps({**_described(error), "exit_status": int(status)}, ensure_ascii=False)
    else:
        where = f"{who}: " if who else ""
        line = f"zmqrpc {request.command}: {where}{_named(error)}"
    print(line, file=sys.stderr, flush=True)
    return status


def _named(error: Exception) -> str:
    """Write class and text on one line; the text of most remote errors begins with the class already."""
    name, text = type(error).__name__, " ".join(str(error).split())
    # What a method says may be made for terminals to obey.
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def _described(error: Exception) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": str(error),
        "maybe_executed": getattr(error, "maybe_executed", None),
    }
