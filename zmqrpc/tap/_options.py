"""What the options of our commands of `twistd` have in common."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from getopt import GetoptError, getopt
from pwd import getpwuid
from typing import Any

from twisted.logger import LogLevel
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from zmqrpc.configuration import FOR_SERVICES, load
from zmqrpc.errors import ConfigError
from zmqrpc.node import use_monotonic_clock
from zmqrpc.settings import FIELDS, URL_VARIABLE
from zmqrpc.signals import StopSignals
from zmqrpc.spelling import nearest
from zmqrpc.tap._log import FORMATS, STANDARD_OUTPUT, LogFile
from zmqrpc.tap._on_signal import OnSignal, nothing_to_open
from zmqrpc.tap._ready_file import ReadyFile
from zmqrpc.tap._refusal import Refusals

_URL = FIELDS["url"]


class CommandOptions(TwistedOptions):
    """
    The options of a command of `twistd`.

    :cvar command: its name.
    :cvar program: the program that runs it, where that is not `twistd` itself; empty where it is.
    :cvar service: whom its configuration is for (`zmqrpc.configuration.load`).
    :ivar configuration: what they, the URL and the files amount to, once parsed.
    :ivar settings: the same, without where it comes from.
    :ivar refusals: where they say what is wrong.
    :ivar log_file: where ``--log-file`` writes, None without it.
    :ivar ready_file: what ``--ready-file`` names, None without it.
    """

    command: str
    program = ""
    synopsis = "[options]"
    service = FOR_SERVICES
    optParameters = [
        [_URL.flag, _URL.letter, None, f"{_URL.help} Default: that of the files, else ${URL_VARIABLE}"],
        ["log-file", "l", None, "Append the log to this file, opened again at SIGHUP; - for standard output"],
        ["ready-file", None, None, "Have this file, with the process id in it, exactly while the service is ready"],
        ["log-format", None, "text", "How the log file is written: text, or json for one object a line"],
    ]

    parent: Any = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["config-file"] = []
        self.refusals = Refusals(self.program or self.command)

    def opt_config_file(self, path: str) -> None:
        """Read options from this INI file. May be repeated; a later file overrides an earlier one."""
        self["config-file"].append(path)

    opt_c = opt_config_file

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse, and look up what the options name.

        :raises StartRefused: an option is not valid. (For a `UsageError` twistd prints its help, on standard output.)
        """
        try:
            self._check_twice(sys.argv[1:] if options is None else options)
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except (UsageError, ConfigError) as error:
            self.refusals.refuse(f"{error}{self._near(error)}")

    def _check_twice(self, options: Sequence[str]) -> None:
        """Refuse an option that is given twice, where the last would count."""
        with suppress(GetoptError):  # which is said when they are parsed
            flags = [self.synonyms[flag.lstrip("-")] for flag, _ in getopt(options, self.shortOpt, self.longOpt)[0]]
            for flag in dict.fromkeys(flags):
                if f"{flag}=" in self.longOpt and not isinstance(self[flag], list) and flags.count(flag) > 1:
                    raise UsageError(f"option --{flag} is given twice; give it once")

    def _near(self, error: Exception) -> str:
        """Say which options there are, where one was typed that is none."""
        unknown = re.fullmatch(r"option (-.*) not recognized", str(error))
        valid = sorted(f"--{name.rstrip('=')}" for name in self.longOpt)
        called = self.program or f"twistd {self.command}"
        return f"; {nearest(unknown[1], valid, f'{called} --help lists all')}" if unknown else ""

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return f"Usage: {self.program} {self.synopsis}" if self.program else str(super().getSynopsis())

    def opt_help(self) -> None:
        """Display this help and exit."""
        try:
            print(self, flush=True)  # noqa: T201
        except BrokenPipeError:
            # Whoever read it, such as `head`, has seen enough. What is buffered would raise once more at the end.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise SystemExit(141) from None  # what shells report for SIGPIPE
        raise SystemExit

    def read(self, given: dict[str, Any], unused: Sequence[str] = ()) -> None:
        """
        Read the configuration, and see that the log can be written.

        :param given: values of options by their names, None for what is not given.
        :param unused: as of `zmqrpc.configuration.load`.
        :raises ConfigError: it is not valid.
        """
        self.configuration = load(
            url=self[_URL.flag],
            config_files=self["config-file"],
            given=given,
            service=self.service,
            unused=unused,
        )
        self.settings = self.configuration.settings
        self.log_file: LogFile | None = None
        self.ready_file = self._make_ready_file(self["ready-file"])
        if self["log-format"] not in FORMATS:
            raise UsageError(f"--log-format {self['log-format']} is not known; there are {' and '.join(FORMATS)}")
        if self["log-file"]:
            self.log_file = self._make_log_file(self["log-file"])
            self.log_file.check()
            self._be_the_only_log()
        elif self["log-format"] != "text":
            raise UsageError("--log-format is about --log-file; give that too, - for standard output")

    @property
    def becomes_daemon(self) -> bool:
        """Whether `twistd` runs us, and will fork before the service starts."""
        twistd = self.parent
        return twistd is not None and not (twistd.get("nodaemon", True) or twistd.get("debug", False))

    def _make_ready_file(self, path: str | None) -> ReadyFile | None:
        if path is None:
            return None
        if not path:
            raise UsageError("--ready-file is empty; name a file")
        # Made absolute now: twistd changes directory before the service starts.
        return ReadyFile(os.path.abspath(path), self.later_owner())

    def _make_log_file(self, path: str) -> LogFile:
        if path != STANDARD_OUTPUT:
            # Made absolute and tried now: twistd changes directory, and forks, before the service starts.
            path = os.path.abspath(path)
        elif self.becomes_daemon:
            raise UsageError("a daemon has no standard output; give --log-file a file, or twistd --nodaemon")
        level = LogLevel.debug if self["debug"] else LogLevel.info
        return LogFile(path, level, self["log-format"], self.later_owner())

    def later_owner(self) -> tuple[int, int] | None:
        """Return the user and group that twistd goes on as, None when it stays as it is."""
        uid, gid = (self.parent.get(name) if self.parent is not None else None for name in ("uid", "gid"))
        if gid is None and uid is not None:
            gid = getpwuid(uid).pw_gid
        return None if gid is None else (-1 if uid is None else uid, gid)

    def _be_the_only_log(self) -> None:
        """Keep twistd from writing a log of its own, unless it was told where."""
        twistd = self.parent
        if (
            twistd is not None
            and "logger" in twistd
            and not (twistd["logger"] or twistd["logfile"] or twistd["syslog"])
        ):
            twistd["logger"] = "zmqrpc.tap._log.no_other_log"

    @property
    def _logs_to_a_standard_stream(self) -> bool:
        """Whether the log goes where whoever starts us reads what stands on standard error."""
        runner = self.parent
        if runner is None or self.becomes_daemon or (self.log_file and self.log_file.path != STANDARD_OUTPUT):
            return False
        if "logFile" in runner:  # twist
            return runner["logFile"].fileno() in (1, 2)
        return not (runner["logger"] or runner["syslog"]) and runner["logfile"] in (None, STANDARD_OUTPUT)

    def prepare(self, reactor: Any) -> None:
        """Make the process ready for a service: its clock, its signals, and what is said when it forks."""
        use_monotonic_clock(reactor)
        StopSignals(reactor).watch()
        self.refusals.in_log = not self._logs_to_a_standard_stream
        if self.becomes_daemon:
            self.refusals.outlive_fork()
            if self.log_file is None:
                OnSignal(reactor, signal.SIGHUP, nothing_to_open).begin()
