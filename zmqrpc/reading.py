"""
What is found for each option, in a transport URL and elsewhere, and what that amounts to.

It reads nothing but what it is told: `Settings.from_url` goes through it, and `zmqrpc.configuration.load`, which finds
files and the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from zmqrpc.errors import ConfigError
from zmqrpc.option import REDIS, Effect, Option
from zmqrpc.settings import FIELDS, OF_URLS, OLDER_NAMES, OPTIONS, Settings, check_names
from zmqrpc.transport_url import cut_url, masked_url, split_url, store_url

ROWS = {option.name: option for option in OPTIONS}
"""Every row of the table, by name."""


class Configuration(Struct, frozen=True):
    """
    The settings, and where they come from.

    :ivar origins: for each name of `Settings`: ``default``, ``zeromq.conf line 12``, ``URL query``, ``--host``...
    :ivar warnings: what the operator should be told once: sentences without passwords.
    :ivar outdated: those of them that change nothing: what has a newer name, another default, or no effect.
    :ivar written: what an option is called where it is set, where that is not its name.
    """

    settings: Settings
    origins: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()
    outdated: frozenset[str] = frozenset()
    written: Mapping[str, str] = {}

    def located(self, error: ConfigError) -> ConfigError:
        """Return an error that was found later with where and how the options that it names were set."""
        return error.located(self.origins, self.written)


class Reading:
    """
    What is found; what is found later replaces what was found before.

    :ivar values: parsed values, by name.
    :ivar origins: where each option is set; ``default`` when that is nowhere, or goes without saying.
    :ivar warnings: as `Configuration` has them, and so `outdated` and `written`.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.outdated: set[str] = set()
        self.written: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.origins = dict.fromkeys(ROWS, "default")

    def take(self, option: Option, text: str, origin: str, written: str = "") -> None:
        """
        Take an option as text.

        :param written: what it is called there, where that is not its name.
        :raises ConfigError: it is none of its values.
        """
        try:
            self.values[option.name] = option.parse(text)
        except ValueError as error:
            hint = ""
            if "\n" in text:
                hint = "; a line that is indented continues the one above it, so begin it in the first column"
            elif " #" in text or " ;" in text:
                hint = "; a comment stands on a line of its own"
            raise ConfigError(f"option {written or option.name} is {text!r} ({origin}); {error}{hint}") from None
        self.origins[option.name] = origin
        self.written.pop(option.name, None)
        if written:
            self.written[option.name] = written

    def leave_out(self, name: str) -> None:
        """Leave out an option that is of no use here, and say so, if it is set."""
        if name in self.values:
            origin, written = self.origins[name], self.written.pop(name, name)
            del self.values[name]
            self.origins[name] = "default"
            self.warnings.append(f"option {written} ({origin}) is ignored: what is started here has no use for it")

    def read_query(self, url: str, origin: str = "URL query") -> str:
        """
        Take the options from the query of a transport URL, and return it without them.

        :raises ConfigError: it is no such URL, or an option is not valid.
        """
        try:
            bare, texts = split_url(url, {*OF_URLS, *OLDER_NAMES})
            newer = self.renamed(texts, origin)
        except ConfigError as error:
            raise error.located(self.origins, self.written) from None
        for name, (written, text) in newer.items():
            self.take(OF_URLS[name], text, origin, written)
        return bare

    def renamed(self, values: Mapping[str, Any], origin: str = "") -> dict[str, tuple[str, Any]]:
        """
        Give what is set by an older name its newer one, saying so.

        :return: for each name what it is called there, empty for the same, and the value.
        :raises ConfigError: an option is set by both.
        """
        found: dict[str, tuple[str, Any]] = {}
        for written, value in values.items():
            name = OLDER_NAMES.get(written, written)
            if name != written:
                if name in values:
                    raise ConfigError(f"options {written} and {name} are one, by two names; take {written} away")
                place = f" ({origin})" if origin else ""
                self.warn_of_outdated(f"option {written}{place} is deprecated; its name is {name}")
            found[name] = ("" if name == written else written, value)
        return found

    def finish(self, url: str) -> Configuration:
        """
        Put everything together.

        :param url: the transport URL without its query.
        :raises ConfigError: a value is not valid, or two contradict.
        """
        self._report_effects()
        try:
            for option in OPTIONS:
                if not option.field and option.name in self.values:
                    option.check(self.values[option.name])
            whole = self._complete(url)
            fields = {name: value for name, value in self.values.items() if name in FIELDS}
            settings = Settings(**fields | {"url": whole})
        except ConfigError as error:
            raise error.located(self.origins, self.written) from None
        origins = {name: self.origins[name] for name in FIELDS}
        return Configuration(settings, origins, tuple(self.warnings), frozenset(self.outdated), self.written)

    # The transport URL

    def _complete(self, url: str) -> str:
        """Put into a URL what it leaves to ``rpc_zmq_matchmaker`` and ``[matchmaker_redis]``."""
        parts = cut_url(url)
        named = parts.scheme.partition("+")[2]
        name = named or self._value("rpc_zmq_matchmaker")
        path = parts.path.strip("/")
        whole, used = url, set() if named else {"rpc_zmq_matchmaker"}
        if name in ("redis", "sentinel") and not parts.netloc:
            whole = self._redis_url(name, path)
            used |= {"redis_host", "redis_port"} if name == "redis" else {"redis_sentinel_hosts"}
            used.add("redis_password")
        elif not named and name != ROWS["rpc_zmq_matchmaker"].default:
            whole = f"zmq+{name}{url.removeprefix('zmq')}"
        elif name == "sentinel" and not path and "redis_sentinel_group_name" in self.values:
            whole = f"{url.rstrip('/')}/{self._value('redis_sentinel_group_name')}"
        if name == "sentinel" and not path:
            used.add("redis_sentinel_group_name")
        self._report_unused(url, name, used)
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
        return self.values.get(name, ROWS[name].default)

    def _report_unused(self, url: str, name: str, used: set[str]) -> None:
        """
        Say which of the options that complete a URL are set in vain.

        :param used: those that did complete it.
        :raises ConfigError: one is a password, and the URL has another.
        """
        userinfo, _, location = cut_url(url).netloc.rpartition("@")
        password = unquote_to_bytes(userinfo.partition(":")[2])
        said = {"rpc_zmq_matchmaker": name}
        if location == f"{self._value('redis_host')}:{self._value('redis_port')}":
            said |= {"redis_host": self._value("redis_host"), "redis_port": self._value("redis_port")}
        theirs = self._value("redis_password")
        if name in ("redis", "sentinel") and password and theirs and "redis_password" not in used:
            if password != theirs.encode():
                raise ConfigError(
                    f"the transport URL {masked_url(url)} and option redis_password name different passwords; "
                    "take one of them away",
                    options=("url", "redis_password"),
                )
            used = used | {"redis_password"}
        lost = [
            f"{option.key}{f' in [{REDIS}]' if option.group == REDIS else ''} ({self.origins[option.name]})"
            for option in OPTIONS
            if option.name == "rpc_zmq_matchmaker" or (option.group == REDIS and not option.field)
            if option.effect is not Effect.NONE and option.name not in used
            if self._value(option.name) not in (option.default, said.get(option.name))
        ]
        if lost:
            origin = self.origins["url"]
            self.warnings.append(
                f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} ignored, since the transport URL "
                f"{masked_url(url)}{f' ({origin})' if origin != 'default' else ''} says otherwise; write into it what "
                "should count"
            )

    def _report_effects(self) -> None:
        for name in self.values:
            option, origin, written = ROWS[name], self.origins[name], self.written.get(name, name)
            place = f" ({origin})" if origin != "default" else ""
            if option.effect is Effect.NONE:
                self.warn_of_outdated(f"option {written}{place} has no effect. {option.help}")

    def warn_of_outdated(self, text: str) -> None:
        """Add a warning about something that changes nothing."""
        self.warnings.append(text)
        self.outdated.add(text)


def read_url(url: str, given: Mapping[str, Any]) -> Configuration:
    """
    Read a transport URL, and nothing besides.

    :param given: values by name, which override its query.
    :raises ConfigError: the URL, or an option or value is not valid.
    """
    reading = Reading()
    newer = reading.renamed(given)
    check_names(newer)
    bare = reading.read_query(url)
    for name, (written, value) in newer.items():
        reading.values[name] = value
        reading.origins[name] = "default"
        reading.written.pop(name, None)
        if written:
            reading.written[name] = written
    return reading.finish(bare)
