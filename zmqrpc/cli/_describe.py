"""`zmqrpc describe`: shows the methods of a topic."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._members import ask_each
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report, described
from zmqrpc.cli._request import target_of
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.node import connect

if TYPE_CHECKING:
    from zmqrpc.client import Answer

Methods = list[dict[str, Any]]


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Show them, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)
    target = target_of(options)

    async def main(reactor: Any) -> int:
        client = await connect(reactor, configuration.settings)
        try:
            answers = [_checked(answer) for answer in await ask_each(client, target, "describe", options)]
        finally:
            await client.close()
        groups = _grouped(answers)
        if options.methods:
            names = sorted({method["method"] for _, methods in groups for method in methods})
            report.result(names) if options.json else report.lines(names)
        elif options.json:
            report.result(_document(groups, answers))
        elif groups:
            report.lines(_lines(groups))
        failed = [(answer.error, answer.member) for answer in answers if answer.error is not None]
        return max((report.error(error, member) for error, member in failed), default=Exit.DONE)

    return on_reactor(configuration, report, main)


def _checked(answer: Answer) -> Answer:
    """Return the answer, with an error where it is no description: it need not be a server of ours that gave it."""
    if answer.error is not None or (type(answer.result) is list and all(map(_is_method, answer.result))):
        return answer
    return answer._replace(result=None, error=RemoteProtocolError("what it answers is no description of methods"))


def _is_method(row: Any) -> bool:
    return (
        type(row) is dict
        and all(type(row.get(name)) is str for name in ("method", "signature", "doc"))
        and all(type(row.get(name)) in (str, type(None)) for name in ("namespace", "version"))
    )


def _grouped(answers: list[Answer]) -> list[tuple[list[Answer], Methods]]:
    """Put members together that offer the same."""
    groups: list[tuple[list[Answer], Methods]] = []
    for answer in answers:
        if answer.error is not None:
            continue
        methods = sorted(answer.result, key=_place)
        for members, same in groups:
            if same == methods:
                members.append(answer)
                break
        else:
            groups.append(([answer], methods))
    return groups


def _place(method: dict[str, Any]) -> tuple[str, str, str]:
    return (method.get("namespace") or "", method.get("version") or "", method["method"])


def _document(groups: list[tuple[list[Answer], Methods]], answers: list[Answer]) -> dict[str, Any]:
    return {
        "groups": [
            {
                "members": [{"member": answer.member, "instance": answer.instance} for answer in members],
                "methods": methods,
            }
            for members, methods in groups
        ],
        "missing": [
            {"member": answer.member, "instance": answer.instance, **described(answer.error)}
            for answer in answers
            if answer.error is not None
        ],
    }


def _lines(groups: list[tuple[list[Answer], Methods]]) -> Iterator[str]:
    for number, (members, methods) in enumerate(groups):
        if number:
            yield ""
        yield f"{', '.join(answer.member for answer in members)}:"
        if not methods:
            yield "  no methods"
        for (namespace, version), same in groupby(
            methods, lambda method: (method.get("namespace"), method.get("version"))
        ):
            if namespace or version not in ("", "1.0"):
                yield ""
                yield f"  {_interface(namespace, version)}"
            for method in same:
                yield ""
                yield f"  {method['method']}{method['signature']}"
                for line in method["doc"].splitlines():
                    yield f"      {line}".rstrip()


def _interface(namespace: str, version: str) -> str:
    named = f"namespace {namespace}" if namespace else "no namespace"
    return f"{named}, version {version or '1.0'}:"
