"""`zmqrpc call`, `cast` and `fanout`: sends one message, and prints what became of it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report, described
from zmqrpc.cli._request import arguments_of, context_of, target_of
from zmqrpc.client import Reached
from zmqrpc.node import connect


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Send it, print the outcome, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)
    target = target_of(options, options.namespace, options.version)
    arguments = arguments_of(options.arguments)
    context = context_of(options.context)

    async def main(reactor: Any) -> int:
        client = await connect(reactor, configuration.settings)
        sends: dict[str, Callable[..., Any]] = {"call": client.call, "cast": client.cast, "fanout": client.fanout}
        try:
            result = await sends[command](
                target,
                options.method,
                arguments,
                timeout=options.timeout,
                context=context,
                wait_for_ready=options.wait,
            )
        finally:
            await client.close()
        return _tell(report, result)

    return on_reactor(configuration, report, main)


def _tell(report: Report, result: Any) -> int:
    if not isinstance(result, Reached):
        report.result(result)
        return Exit.DONE
    report.result(
        {
            "members": _listed(result.members),
            "missing": [
                {"member": member, "instance": instance, **described(error)}
                for member, instance, error in result.missing
            ],
            "published": _listed(result.published),
        }
    )
    return max((report.error(error, member) for member, _, error in result.missing), default=Exit.DONE)


def _listed(members: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"member": member, "instance": instance} for member, instance in members]
