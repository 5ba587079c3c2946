"""`twistd zmq-rpc-server`: RPC servers in a process of their own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from getopt import GetoptError, getopt
from pwd import getpwuid
from typing import Any

from twisted.application.service import IService
from twisted.logger import LogLevel
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from zmqrpc.configuration import load
from zmqrpc.errors import ConfigError
from zmqrpc.node import use_monotonic_clock
from zmqrpc.settings import KEPT, URL_VARIABLE
from zmqrpc.signals import StopSignals
from zmqrpc.spelling import nearest
from zmqrpc.tap._applications import find
from zmqrpc.tap._hangup import HangUp, nothing_to_open
from zmqrpc.tap._log import FORMATS, STANDARD_OUTPUT, LogFile
from zmqrpc.tap._notify import supervisor_of
from zmqrpc.tap._refusal import Refusals
from zmqrpc.tap._serving import Serving
from zmqrpc.target import Target

__all__ = ["Options", "makeService"]


_URL = KEPT["url"]
_HOST = KEPT["rpc_zmq_host"]


class Options(TwistedOptions):
    """
    The options of `twistd zmq-rpc-server`.

    :ivar configuration: what they, the URL and the files amount to, once parsed.
    :ivar settings: the same, without where it comes from.
    :ivar target: topic, exchange and member for an application that names none.
    :ivar applications: name and object of each ``--app``.
    :ivar refusals: where they say what is wrong.
    :ivar log_file: where ``--log-file`` writes, None without it.
    """

    synopsis = "[options] --app APP [--app APP ...]"
    longdesc = "Run RPC servers. SIGTERM stops them when the calls that run have ended."
    optParameters = [
        [_URL.flag, _URL.letter, None, f"{_URL.help} Default: that of the files, else ${URL_VARIABLE}"],
        [_HOST.flag, _HOST.letter, None, _HOST.help],
        ["server", None, None, "The name of this member under its topics; default: the host"],
        ["topic", None, None, "The topic of an APP that names none"],
        ["exchange", None, None, "The exchange of an APP that names none; default: control_exchange"],
        ["log-file", "l", None, "Append the log to this file, opened again at SIGHUP; - for standard output"],
        ["log-format", None, "text", "How the log file is written: text, or json for one object a line"],
    ]
    optFlags = [["debug", "d", "Log every call, and what else helps to find a fault"]]

    parent: Any = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["app"] = []
        self["config-file"] = []
        self.refusals = Refusals("zmq-rpc-server")

    def opt_app(self, name: str) -> None:
        """Serve this: the name of an application plugin, or package.module:object. May be repeated."""
        self["app"].append(name)

    opt_a = opt_app

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
            for flag, *_ in self.optParameters:
                if flags.count(flag) > 1:
                    raise UsageError(f"option --{flag} is given twice; give it once")

    def _near(self, error: Exception) -> str:
        """Say which options there are, where one was typed that is none."""
        unknown = re.fullmatch(r"option (-.*) not recognized", str(error))
        valid = sorted(f"--{name.rstrip('=')}" for name in self.longOpt)
        return f"; {nearest(unknown[1], valid, 'twistd zmq-rpc-server --help lists all')}" if unknown else ""

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise UsageError(f"{arguments[0]!r} is not an option; an application is given with --app")

    def postOptions(self) -> None:
        """Turn the options into what `makeService` needs."""
        if not self["app"]:
            raise UsageError("nothing to serve; give an application with --app NAME or --app package.module:object")
        given = {_HOST.name: self[_HOST.flag] or None}
        self.configuration = load(url=self[_URL.flag], config_files=self["config-file"], given=given)
        self.settings = self.configuration.settings
        self.target = Target(topic=self["topic"], server=self["server"], exchange=self["exchange"])
        self.applications = [(name, find(name)) for name in self["app"]]
        self.log_file: LogFile | None = None
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

    def _make_log_file(self, path: str) -> LogFile:
        if path != STANDARD_OUTPUT:
            # Made absolute and tried now: twistd changes directory, and forks, before the service starts.
            path = os.path.abspath(path)
        elif self.becomes_daemon:
            raise UsageError("a daemon has no standard output; give --log-file a file, or twistd --nodaemon")
        level = LogLevel.debug if self["debug"] else LogLevel.info
        return LogFile(path, level, self["log-format"], self._later_owner())

    def _later_owner(self) -> tuple[int, int] | None:
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


def makeService(options: Options) -> IService:
    """
    Make the service; it opens nothing before it is started, so that a process may fork in between.

    :raises StartRefused: a setting is not valid.
    """
    from twisted.internet import reactor

    use_monotonic_clock(reactor)
    StopSignals(reactor).watch()
    if options.becomes_daemon:
        options.refusals.outlive_fork()
        if options.log_file is None:
            HangUp(reactor, nothing_to_open).begin()
    try:
        return Serving(
            reactor,
            options.refusals,
            options.configuration,
            options.applications,
            options.target,
            options.log_file,
            trace=bool(options["debug"]),
            supervisor=supervisor_of(reactor),
        )
    except ConfigError as error:
        options.refusals.refuse(str(options.configuration.located(error)))
