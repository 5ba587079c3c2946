"""What configuration files say about our options, in the layouts of both seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from string import Template

import attrs

from zmqrpc.errors import ConfigError
from zmqrpc.ini import Entry, IniFile, read
from zmqrpc.option import DEFAULT, PROXY, REDIS, ZMQ, Effect, Option
from zmqrpc.settings import OPTIONS
from zmqrpc.spelling import nearest

_GROUPS = (DEFAULT, ZMQ, PROXY, REDIS)

_OTHERS_OF_OSLO = {f"oslo_messaging_{name}" for name in ("amqp", "kafka", "metrics", "notifications", "rabbit")}
"""Sections whose names are like ours and are not misspelt."""

_OTHERS_IN_DEFAULT = {"rpc_thread_pool_size"}
"""Names of ours that mean something else there."""


@attrs.frozen
class Said:
    """
    What the files say about one option.

    :ivar text: its value, with what it refers to written in.
    :ivar place: file and line.
    :ivar written: what it is called there; empty where that is its name.
    """

    text: str
    place: str
    written: str


class ConfigFiles:
    """
    The files that ``--config-file`` names.

    :param paths: a later file overrides an earlier one.
    :ivar said: what counts, by `Option.name`.
    :ivar warnings: what is not read, or is read from an older place.
    :ivar outdated: those of them that are about older places and defaults.
    :raises ConfigError: a file cannot be read, or a section of ours alone holds what is no option, or one twice.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        self.warnings: list[str] = []
        self.outdated: set[str] = set()
        self._files = [read(path) for path in paths]
        self._is_of_older_seed = False
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        for file in self._files:
            self._check_sections(file)
            self._check_names(file)
            for each in file.entries:
                self._entries.setdefault((each.section, each.name), []).append(each)
        self.said: dict[str, Said] = {}
        for option in OPTIONS:
            entry = self._find(option)
            if entry is not None:
                text = _substituted(entry.value, entry.section, self._entries)
                self.said[option.name] = Said(text, entry.place, _written(option, entry))
        self._report_defaults()

    def _check_sections(self, file: IniFile) -> None:
        for section, line in file.sections.items():
            similar = _similar_group(section)
            if similar is None:
                continue
            text = f"section [{section}] in {file.path} line {line} is not read; did you mean [{similar}]?"
            if _names_of(similar) & {entry.name for entry in file.entries if entry.section == section}:
                groups = ", ".join(f"[{group}]" for group in _GROUPS)
                raise ConfigError(f"{text} sections of zmqrpc are {groups}")
            self.warnings.append(text)

    def _check_names(self, file: IniFile) -> None:
        for entry in file.entries:
            valid = _names_of(entry.section)
            if not valid or entry.name in valid:
                continue
            options = [option for option in OPTIONS if option.key == entry.name]
            if entry.section != DEFAULT:
                hint = f"it belongs in [{options[0].group}]" if options else nearest(entry.name, valid)
                raise ConfigError(f"unknown option {entry.name} in [{entry.section}] ({entry.place}); {hint}")
            # Others have options there too; but whoever has one of ours wants it to be read.
            ours = any(option.group == ZMQ and option.effect is Effect.YES for option in options)
            if ours and entry.name not in _OTHERS_IN_DEFAULT:
                self.warnings.append(f"{_name_place(entry)} is not read; it belongs in [{ZMQ}]")

    def _find(self, option: Option) -> Entry | None:
        """Find what counts for an option, and report what does not, or stands in an older place."""
        found: Entry | None = None
        for number, (group, key) in enumerate(((option.group, option.key), *option.was)):
            entries = self._entries.get((group, key))
            if not entries:
                continue
            *earlier, entry = entries
            if found is not None:
                self.warnings.append(f"{_name_place(entry)} is ignored, since {_name_place(found)} is its newer name")
                continue
            found = entry
            for other in earlier:
                if other.file == entry.file:
                    self._report_twice(option, other, entry)
            if number:
                self._report_old(option, entry)
        return found

    def _report_twice(self, option: Option, entry: Entry, later: Entry) -> None:
        text = f"{_name_place(entry)} is given again in line {later.line}"
        # [DEFAULT] is not ours alone, and oslo.config reads it so. Whoever repeats a list may think that its items add
        # up, as those of some options of oslo.config do.
        if entry.section != DEFAULT and not option.kind.startswith("tuple"):
            raise ConfigError(f"{text}; take one of them away")
        self.warnings.append(f"{text}, which alone counts")

    def _report_old(self, option: Option, entry: Entry) -> None:
        self._is_of_older_seed |= entry.section == DEFAULT
        if option.effect is Effect.NONE:
            return
        text = f"{_name_place(entry)} is deprecated; write {option.key} in [{option.group}]"
        if option.older_default is not None:
            text += f" (its default was {option.older_default}, and is {option.write(option.default)})"
        self._warn_of_outdated(text)

    def _report_defaults(self) -> None:
        """Say which defaults of the older seed have changed, to who has a file like its."""
        changed = [
            f"{option.name} was {option.older_default} and is {option.write(option.default)}"
            for option in OPTIONS
            if option.older_default is not None and option.name not in self.said
        ]
        if changed and (self._is_of_older_seed or "rpc_backend" in self.said):
            self._warn_of_outdated(
                f"{', '.join(self.paths)}: these defaults have changed since such files were written: "
                + ", ".join(changed)
            )

    def _warn_of_outdated(self, text: str) -> None:
        self.warnings.append(text)
        self.outdated.add(text)


class _Values:
    """The values that ``$name`` and ``${group.name}`` mean; what names none stays as it is."""

    def __init__(self, section: str, entries: Mapping[tuple[str, str], list[Entry]], depth: int) -> None:
        self._section = section
        self._entries = entries
        self._depth = depth

    def __getitem__(self, name: str) -> str:
        group, dot, key = name.rpartition(".")
        for section in (group,) if dot else (self._section, DEFAULT):
            entries = self._entries.get((section, key))
            if entries and self._depth < 10:
                return _substituted(entries[-1].value, section, self._entries, self._depth + 1)
        raise KeyError(name)


class _Text(Template):
    braceidpattern = r"(?a:[_a-z][_a-z0-9]*(?:\.[_a-z][_a-z0-9]*)?)"


def _substituted(text: str, section: str, entries: Mapping[tuple[str, str], list[Entry]], depth: int = 0) -> str:
    """Write into a value what it refers to, as oslo.config does; ``$$`` is a ``$``."""
    return _Text(text).safe_substitute(_Values(section, entries, depth)) if "$" in text else text  # type: ignore[arg-type]


def _written(option: Option, entry: Entry) -> str:
    if entry.name == option.name:
        return ""
    if (entry.section, entry.name) == (DEFAULT, "transport_url"):
        return entry.name
    if (entry.section, entry.name) == (option.group, option.key):
        return f"{entry.name} in [{entry.section}]"
    return f"{entry.name} in [{entry.section}] (now {option.key} in [{option.group}])"


def _name_place(entry: Entry) -> str:
    return f"{entry.name} in [{entry.section}] ({entry.place})"


@cache
def _names_of(section: str) -> frozenset[str]:
    """Return the names that a section of ours may have; none for the sections of others."""
    places = (place for option in OPTIONS for place in ((option.group, option.key), *option.was))
    return frozenset(key for group, key in places if group == section)


def _similar_group(section: str) -> str | None:
    """Return the section of ours that a section seems to be, misspelt."""
    if _names_of(section) or section in _OTHERS_OF_OSLO:
        return None
    for group in _GROUPS:
        if SequenceMatcher(None, section.lower().replace("-", "_"), group.lower()).ratio() > 0.75:
            return group
    return None
