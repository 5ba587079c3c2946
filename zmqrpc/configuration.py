"""
What command line, transport URL and files amount to, and where each value comes from.

The first of these that names an option counts: the command line, the query of the transport URL, the last file, the
files before it, the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from zmqrpc.errors import ConfigError
from zmqrpc.reading import ROWS, Reading
from zmqrpc.reading import Configuration as Configuration
from zmqrpc.settings import FIELDS, URL_VARIABLE, Settings
from zmqrpc.transport_url import masked_url

_OLDER_MATCHMAKERS = {"dummy", "redis", "sentinel"}
"""Those that ``rpc_backend`` and the options beside it make a whole URL for."""

FOR_SERVICES = "service"
FOR_PROXIES = "proxy"
"""For whom a configuration is: what calls and serves, or a proxy."""


def load(
    *,
    url: str | None = None,
    config_files: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    service: str = FOR_SERVICES,
    unused: Sequence[str] = (),
    without_url: bool = False,
) -> Configuration:
    """
    Put everything together.

    :param url: the transport URL of the command line; None for that of the files, or of the environment variable
        ``ZMQRPC_URL`` where these have none.
    :param config_files: paths; a later file overrides an earlier one.
    :param given: what else the command line sets: values by the name of the option, None for what it does not set.
    :param service: `FOR_SERVICES` or `FOR_PROXIES`.
    :param unused: options that what the command line asks for has no use for. A file may have them, since one file may
        be for several processes, and they are left out with a warning.
    :param without_url: whether a missing URL is a warning, for who only looks.
    :raises ConfigError: there is no URL, a file cannot be read, or an option, section or value is not valid; the text
        names it, with file and line.
    """
    paths: tuple[str, ...] = ()
    reading = Reading()
    if config_files:
        # Here, since most commands are given no file, and have to answer at once.
        from zmqrpc.config_files import ConfigFiles

        files = ConfigFiles(config_files)
        paths = files.paths
        reading.warnings += files.warnings
        reading.outdated |= files.outdated
        for name, said in files.said.items():
            reading.take(ROWS[name], said.text, said.place, said.written)
        for name in unused:
            reading.leave_out(name)
    chosen, origin = _choose_url(reading, url, service, paths, without_url)
    if reading.origins["url"] != origin:
        reading.written.pop("url", None)
    reading.origins["url"] = origin
    bare = reading.read_query(chosen, "URL query" if origin == "--url" else f"URL query, {origin}")
    for name, value in (given or {}).items():
        if value is not None:
            reading.values[name] = value
            reading.origins[name] = f"--{FIELDS[name].flag}" if FIELDS[name].flag else "the command line"
            reading.written.pop(name, None)
    configuration = reading.finish(bare)
    if "rpc_backend" in reading.values and origin == reading.origins["rpc_backend"]:
        text = f"rpc_backend ({origin}) is deprecated; write transport_url = {_advised(configuration.settings)}"
        return replace(
            configuration,
            warnings=(*configuration.warnings, text),
            outdated=configuration.outdated | {text},
        )
    return configuration


def _advised(settings: Settings) -> str:
    """Write the URL to write for an older spelling; that of a matchmaker that it cannot name is not whole."""
    if settings.matchmaker in _OLDER_MATCHMAKERS:
        return masked_url(settings.url)
    return "zmq+redis://HOST:PORT, or zmq+sqlite:///PATH on one machine"


def _choose_url(
    reading: Reading, url: str | None, service: str, paths: Sequence[str], without: bool
) -> tuple[str, str]:
    """Choose the transport URL, and say where it is from."""
    if url:
        return url, "--url"
    for name in ("proxy_url", "url") if service == FOR_PROXIES else ("url",):
        if reading.values.get(name):
            return reading.values[name], reading.origins[name]
    backend = reading.values.get("rpc_backend")
    if backend is not None:
        origin = reading.origins["rpc_backend"]
        if backend == "zmq" or backend.endswith("impl_zmq"):
            return "zmq://", origin
        raise ConfigError(
            f"option rpc_backend is {backend!r} ({origin}); write zmq, or a transport_url that begins with zmq"
        )
    url = os.environ.get(URL_VARIABLE)
    if url:
        return url, URL_VARIABLE
    files = ", ".join(paths)
    missing = (
        f"no transport URL{f' in {files}' if files else ''}; give --url, or set {URL_VARIABLE}, for example to "
        "zmq+sqlite:///var/lib/zmqrpc/matchmaker.db, or name a --config-file with transport_url in [DEFAULT]"
    )
    if not without:
        raise ConfigError(missing)
    reading.warnings.append(missing)
    return FIELDS["url"].default, "default"
