"""
What command line, transport URL and files amount to, and where each value comes from.

The first of these that names an option counts: the command line, the query of the transport URL, the last file, the
files before it, the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from zmqrpc.errors import ConfigError
from zmqrpc.option import PROXY, Effect, Option
from zmqrpc.settings import KEPT, OF_URLS, OPTIONS, URL_VARIABLE, Settings
from zmqrpc.transport_url import masked_url, split_url, store_url

if TYPE_CHECKING:
    from zmqrpc.config_files import ConfigFiles

FOR_SERVICES = "service"
FOR_PROXIES = "proxy"
"""For whom a configuration is: what calls and serves, or a proxy."""

_ROWS = {option.name: option for option in OPTIONS}


class Configuration(Struct, frozen=True):
    """
    The settings, and where they come from.

    :ivar origins: for each name of `Settings`: ``default``, ``zeromq.conf line 12``, ``URL query``, ``--host``...
    :ivar warnings: what the operator should be told once: sentences without passwords.
    """

    settings: Settings
    origins: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def located(self, error: ConfigError) -> ConfigError:
        """Return an error that was found later with where the options that it names were set."""
        return error.located(self.origins)


def load(
    *,
    url: str | None = None,
    config_files: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    service: str = FOR_SERVICES,
    without_url: bool = False,
) -> Configuration:
    """
    Put everything together.

    :param url: the transport URL of the command line; None for that of the files, or of the environment variable
        ``ZMQRPC_URL`` where these have none.
    :param config_files: paths; a later file overrides an earlier one.
    :param given: what else the command line sets: values by the name of the option, None for what it does not set.
    :param service: `FOR_SERVICES` or `FOR_PROXIES`.
    :param without_url: whether a missing URL is a warning, for who only looks.
    :raises ConfigError: there is no URL, a file cannot be read, or an option, section or value is not valid; the text
        names it, with file and line.
    """
    loading = _Loading(service)
    if config_files:
        # Here, since most commands are given no file, and have to answer at once.
        from zmqrpc.config_files import ConfigFiles

        loading.read(ConfigFiles(config_files))
    return loading.load(url, given or {}, without_url)


class _Loading:
    """One `load`: what is found later replaces what was found before."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._paths: tuple[str, ...] = ()
        self._warnings: list[str] = []
        self._values: dict[str, Any] = {}
        self._origins = dict.fromkeys(_ROWS, "default")

    def read(self, files: ConfigFiles) -> None:
        self._paths = files.paths
        self._warnings += files.warnings
        for name, said in files.said.items():
            self._set(_ROWS[name], said.text, said.place)

    def load(self, url: str | None, given: Mapping[str, Any], without_url: bool) -> Configuration:
        chosen, self._origins["url"] = self._choose_url(url, without_url)
        url = self._read_query(chosen)
        for name, value in given.items():
            if value is not None:
                self._values[name] = value
                self._origins[name] = f"--{KEPT[name].flag}" if KEPT[name].flag else "the command line"
        self._report_effects()
        try:
            for option in OPTIONS:
                if not option.kept and option.name in self._values:
                    option.check(self._values[option.name])
            self._values["url"] = self._complete(url)
            settings = Settings(**{name: value for name, value in self._values.items() if name in KEPT})
        except ConfigError as error:
            raise error.located(self._origins) from None
        return Configuration(settings, {name: self._origins[name] for name in KEPT}, tuple(self._warnings))

    def _set(self, option: Option, text: str, origin: str) -> None:
        try:
            self._values[option.name] = option.parse(text)
        except ValueError as error:
            hint = ""
            if "\n" in text:
                hint = "; a line that is indented continues the one above it, so begin it in the first column"
            elif " #" in text or " ;" in text:
                hint = "; a comment stands on a line of its own"
            raise ConfigError(f"option {option.name} is {text!r} ({origin}); {error}{hint}") from None
        self._origins[option.name] = origin

    # The transport URL

    def _choose_url(self, url: str | None, without: bool) -> tuple[str, str]:
        if url:
            return url, "--url"
        for name in ("proxy_url", "url") if self._service == FOR_PROXIES else ("url",):
            if self._values.get(name):
                return self._values[name], self._origins[name]
        backend = self._values.get("rpc_backend")
        if backend is not None:
            origin = self._origins["rpc_backend"]
            if backend == "zmq" or backend.endswith("impl_zmq"):
                return "zmq://", origin
            raise ConfigError(
                f"option rpc_backend is {backend!r} ({origin}); write zmq, or a transport_url that begins with zmq"
            )
        url = os.environ.get(URL_VARIABLE)
        if url:
            return url, URL_VARIABLE
        files = ", ".join(self._paths)
        missing = (
            f"no transport URL{f' in {files}' if files else ''}; give --url, or set {URL_VARIABLE}, for example to "
            "zmq+sqlite:///var/lib/zmqrpc/matchmaker.db, or name a --config-file with transport_url in [DEFAULT]"
        )
        if not without:
            raise ConfigError(missing)
        self._warnings.append(missing)
        return KEPT["url"].default, "default"

    def _read_query(self, url: str) -> str:
        """Take the options from a URL, and return it without them."""
        origin = self._origins["url"]
        try:
            bare, texts = split_url(url, OF_URLS)
        except ConfigError as error:
            raise error.located(self._origins) from None
        for name, text in texts.items():
            self._set(OF_URLS[name], text, "URL query" if origin == "--url" else f"URL query, {origin}")
        return bare

    def _complete(self, url: str) -> str:
        """Put into a URL what it leaves to ``rpc_zmq_matchmaker`` and ``[matchmaker_redis]``."""
        parts = urlsplit(url)
        name = parts.scheme.partition("+")[2] or self._value("rpc_zmq_matchmaker")
        path = parts.path.strip("/")
        whole = url
        if name in ("redis", "sentinel") and not parts.netloc:
            whole = self._redis_url(name, path)
        elif "+" not in parts.scheme and name != _ROWS["rpc_zmq_matchmaker"].default:
            whole = f"zmq+{name}{url.removeprefix('zmq')}"
        elif name == "sentinel" and not path and "redis_sentinel_group_name" in self._values:
            whole = f"{url.rstrip('/')}/{self._value('redis_sentinel_group_name')}"
        origin = self._origins["url"]
        if "rpc_backend" in self._values and origin == self._origins["rpc_backend"]:
            self._warnings.append(f"rpc_backend ({origin}) is deprecated; write transport_url = {masked_url(whole)}")
        return whole

    def _redis_url(self, name: str, path: str) -> str:
        password = self._value("redis_password")
        if name == "redis":
            host = self._value("redis_host")
            host = f"[{host}]" if ":" in host and not host.startswith("[") else host
            return store_url(name, [f"{host}:{self._value('redis_port')}"], password, f"/{path}" if path else "")
        hosts = self._value("redis_sentinel_hosts")
        if not hosts:
            raise ConfigError(
                "the transport URL names no Sentinel; write zmq+sentinel://host1:26379,host2:26379,host3:26379",
                options=("url",),
            )
        return store_url(name, hosts, password, f"/{path or self._value('redis_sentinel_group_name')}")

    def _value(self, name: str) -> Any:
        return self._values.get(name, _ROWS[name].default)

    def _report_effects(self) -> None:
        for name, value in self._values.items():
            option, origin = _ROWS[name], self._origins[name]
            theirs = option.group == PROXY and self._service != FOR_PROXIES
            if option.effect is Effect.NONE:
                self._warnings.append(f"option {name} ({origin}) has no effect. {option.help}")
            elif option.effect is Effect.LATER and value != option.default and not theirs:
                self._warnings.append(f"option {name} ({origin}) has no effect yet")
