"""The options of the driver, made from the one table in `zmqrpc.settings`."""

from __future__ import annotations

import logging
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

from oslo_config import cfg
from oslo_messaging.transport import TransportHost, TransportURL
from twisted.internet.task import Clock

from zmqrpc.connections import find_factory
from zmqrpc.core.plan import check_matchmaker, plan_of
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.option import REDIS, ZMQ, Option
from zmqrpc.reading import Reading
from zmqrpc.settings import OPTIONS, Settings

LOG = logging.getLogger(__name__)

_KINDS = {
    "str": cfg.StrOpt,
    "int": cfg.IntOpt,
    "float": cfg.FloatOpt,
    "bool": cfg.BoolOpt,
    "tuple[str, ...]": cfg.ListOpt,
}

_DEFAULTS = {"call_monitor_timeout": 0.0}
"""
What is another value here than elsewhere.

A service whose green threads are all stopped by one that blocks is silent for many seconds, and its callers wait for as
long as they say: they ask for more with ``call_monitor_timeout`` of oslo.messaging's client.
"""

_ROWS = sorted((option for option in OPTIONS if option.group in (ZMQ, REDIS)), key=attrgetter("group"))


def list_opts() -> list[tuple[str, list[Any]]]:
    """List the options of each group, for ``oslo-config-generator --namespace zmqrpc``."""
    return [(group, [_opt(row) for row in rows]) for group, rows in groupby(_ROWS, attrgetter("group"))]


def register_opts(conf: Any) -> None:
    """Have a configuration know the options, as each transport does with its own."""
    for group, opts in list_opts():
        conf.register_opts(opts, group=group)


def _opt(row: Option) -> Any:
    more: dict[str, Any] = {}
    if row.choices:
        more["choices"] = list(row.choices)
    if row.kind in ("int", "float") and row.low is not None:
        more |= {"min": row.low} if row.high is None else {"min": row.low, "max": row.high}
    return _KINDS[row.kind](
        row.key,
        default=_default(row),
        help=row.help,
        secret=row.secret,
        deprecated_opts=[cfg.DeprecatedOpt(key, group=group) for group, key in row.was],
        **more,
    )


def _default(row: Option) -> Any:
    default = _DEFAULTS.get(row.name, row.default)
    return list(default) if isinstance(default, tuple) else default


def settings_of(conf: Any, url: Any, default_exchange: str | None) -> Settings:
    """
    Read what a transport is told.

    :param conf: a `ConfigOpts`.
    :param url: a `TransportURL`; its query overrides the configuration.
    :param default_exchange: the exchange of targets that name none.
    :raises ConfigError: an option of the query is unknown, a value is not valid, or two do not go together.
    """
    register_opts(conf)
    reading = Reading()
    for row in _ROWS:
        value = conf[row.group][row.key]
        if isinstance(value, str):
            # The manuals write None, and {hostname}, where an option is to stay unset.
            value = row.parse(value)
        if value != _default(row) or row.name in _DEFAULTS:
            reading.values[row.name] = tuple(value) if isinstance(value, list) else value
            reading.origins[row.name] = f"[{row.group}] {row.key}"
    if default_exchange:
        reading.values["control_exchange"] = default_exchange
    # It is not there before the first client, which gives a timeout with each call.
    if (timeout := getattr(conf, "rpc_response_timeout", None)) is not None:
        reading.values["rpc_response_timeout"] = float(timeout)
    configuration = reading.finish(reading.read_query(_text_of(url)))
    for text in configuration.warnings:
        _warn(text)
    settings = configuration.settings
    plan = plan_of(settings)
    # It opens nothing, and says what is wrong with the URL.
    make_matchmaker(Clock(), settings)
    for text in filter(None, (plan.warning, check_matchmaker(plan, settings.matchmaker))):
        _warn(text)
    # Looked for, and loaded: see `zmqrpc.oslo.hosted`.
    find_factory(plan.calls)
    return settings


@lru_cache(maxsize=1000)
def _warn(text: str) -> None:
    """Say something once: a service makes many transports of one configuration."""
    LOG.warning("%s", text)


def _text_of(url: Any) -> str:
    """
    Write a transport URL as we read it: user and password stand before the first host, and are those of all.

    oslo.messaging has them before each host.

    :raises ConfigError: they are not the same everywhere.
    """
    known = {(host.username, host.password) for host in url.hosts if host.username or host.password}
    if len(known) > 1:
        raise ConfigError("the hosts of the transport URL have different users or passwords; give all of them the same")
    hosts = [TransportHost(host.hostname, host.port) for host in url.hosts]
    for user, password in known:
        hosts[0].username, hosts[0].password = user, password
    return str(TransportURL(url.conf, url.transport, url.virtual_host, hosts, url.query))
