"""`zmqrpc config`: a sample of a configuration file, or what a configuration amounts to."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from zmqrpc.cli._exit import Exit
from zmqrpc.cli._report import Report
from zmqrpc.configuration import Configuration, load
from zmqrpc.connections import check_strategy
from zmqrpc.core.plan import check_matchmaker, plan_of
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.option import DEFAULT, PROXY, REDIS, ZMQ, Effect, Option
from zmqrpc.settings import FIELDS, OPTIONS, Settings, masked_url

_GROUPS = (DEFAULT, ZMQ, PROXY, REDIS)


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Print a sample when neither a URL nor a file is given, else every option with its value and where it comes from.

    Warnings go to standard error. What is still to come is one of them, so that its configuration can be looked at.

    :raises ConfigError: nothing could be started with this configuration.
    """
    if not options.url and not options.config_file:
        if options.json:
            report.result(described())
        else:
            report.lines(sample())
        return Exit.DONE
    configuration = load(url=options.url, config_files=options.config_file, without_url=True)
    warnings = [*configuration.warnings, *ignored(configuration)]
    if options.json:
        report.result(valued(configuration, warnings))
        return Exit.DONE
    for warning in warnings:
        report.note(warning)
    report.lines(effective(configuration))
    return Exit.DONE


def ignored(configuration: Configuration) -> list[str]:
    """
    Return what is ignored: one sentence each.

    :raises ConfigError: topology and matchmaker do not exist, or do not fit together.
    """
    settings = configuration.settings
    try:
        plan = plan_of(settings)
        check_strategy(plan.name)
        # It opens nothing. That of a third party may ask the reactor for anything.
        from twisted.internet import reactor

        otherwise = check_matchmaker(plan, settings.matchmaker)
        make_matchmaker(reactor, settings)
    except ConfigError as error:
        raise configuration.located(error) from None
    return [*filter(None, (plan.warning, otherwise))]


def sample() -> Iterator[str]:
    """Write a configuration file with every option as a comment."""
    yield "# Every option of zmqrpc, with its default. Take away the # in front of those that you change."
    yield "# A server needs a matchmaker: transport_url = zmq+redis://127.0.0.1:6379, or the same with --url."
    for group in _GROUPS:
        yield ""
        yield f"[{group}]"
        for option in OPTIONS:
            if option.group == group and option.effect is not Effect.NONE:
                yield ""
                yield from (f"# {line}" for line in wrap(option.help, 100))
                effect = option.effect.value if option.effect is not Effect.YES else ""
                yield f"# {', '.join(filter(None, (_kind(option), option.range, effect)))}"
                yield f"#{option.key} = {option.write(option.default)}".rstrip()


def described() -> dict[str, Any]:
    """Write the table of options for programs: by group and name."""
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        groups.setdefault(option.group, {})[option.key] = {
            "type": option.kind,
            "default": option.default,
            "low": option.low,
            "high": option.high,
            "help": option.help,
            "effect": option.effect.value,
            "deprecated": [f"[{group}] {key}" for group, key in option.was],
        }
    return groups


def effective(configuration: Configuration) -> Iterator[str]:
    """Write each option with its value, below a comment that says where it comes from."""
    for number, group in enumerate(_GROUPS):
        options = [option for option in FIELDS.values() if option.group == group]
        if number:
            yield ""
        yield f"[{group}]"
        for option in options:
            value = _value(configuration.settings, option)
            meant = _meant(configuration.settings, option)
            yield f"# {configuration.origins[option.name]}{f'; it means {meant}' if meant else ''}"
            yield f"{'#' if value is None else ''}{option.key} = {option.write(value)}".rstrip()


def valued(configuration: Configuration, warnings: Sequence[str]) -> dict[str, Any]:
    """Write values and origins for programs: by group and name."""
    groups: dict[str, Any] = {}
    for option in FIELDS.values():
        groups.setdefault(option.group, {})[option.key] = {
            "value": _value(configuration.settings, option),
            "origin": configuration.origins[option.name],
        }
    return {"options": groups, "warnings": list(warnings)}


def _kind(option: Option) -> str:
    return {"tuple[str, ...]": "list"}.get(option.kind, option.kind)


def _value(settings: Settings, option: Option) -> Any:
    value = getattr(settings, option.name)
    if value is None or not option.secret:
        return value
    return masked_url(value) if option.name == "url" else "***"


def _meant(settings: Settings, option: Option) -> str:
    """Return what a value stands for that is computed."""
    meant = {
        "rpc_zmq_host": settings.host,
        "zmq_target_update": settings.refresh_interval,
        "zmq_linger": settings.linger,
    }
    value = meant.get(option.name)
    return "" if value in (None, getattr(settings, option.name)) else option.write(value)
