"""`twistd zmq-rpc-server`: RPC servers in a process of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.application.service import IService
from twisted.logger import LogLevel
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from zmqrpc.errors import ConfigError
from zmqrpc.node import use_monotonic_clock
from zmqrpc.settings import URL_VARIABLE, Settings
from zmqrpc.signals import StopSignals
from zmqrpc.tap._applications import find
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._refusal import Refusals
from zmqrpc.tap._serving import Serving
from zmqrpc.target import Target

__all__ = ["Options", "makeService"]


class Options(TwistedOptions):
    """
    The options of `twistd zmq-rpc-server`.

    :ivar settings: what they amount to, once parsed.
    :ivar target: topic, exchange and member for an application that names none.
    :ivar applications: name and object of each ``--app``.
    :ivar refusals: where they say what is wrong.
    :ivar log_file: where ``--log-file`` writes, None without it.
    """

    synopsis = "[options] --app APP [--app APP ...]"
    longdesc = "Run RPC servers. SIGTERM stops them when the calls that run have ended."
    optParameters = [
        ["url", "u", None, f"The transport URL; default: ${URL_VARIABLE}"],
        ["host", "H", None, "Name or address by which others reach this machine"],
        ["server", None, None, "The name of this member under its topics; default: the host"],
        ["topic", None, None, "The topic of an APP that names none"],
        ["exchange", None, None, "The exchange of an APP that names none; default: control_exchange"],
        ["log-file", "l", None, "Append the log to this file"],
    ]
    optFlags = [["debug", "d", "Log every call, and what else helps to find a fault"]]

    parent: Any = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["app"] = []
        self.refusals = Refusals("zmq-rpc-server")

    def opt_app(self, name: str) -> None:
        """Serve this: the name of an application plugin, or package.module:object. May be repeated."""
        self["app"].append(name)

    opt_a = opt_app

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse, and look up what the options name.

        :raises StartRefused: an option is not valid. (For a `UsageError` twistd prints its help, on standard output.)
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except (UsageError, ConfigError) as error:
            self.refusals.refuse(str(error))

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise UsageError(f"{arguments[0]!r} is not an option; an application is given with --app")

    def postOptions(self) -> None:
        """Turn the options into what `makeService` needs."""
        if not self["app"]:
            raise UsageError("nothing to serve; give an application with --app NAME or --app package.module:object")
        url = self["url"] or os.environ.get(URL_VARIABLE)
        if not url:
            raise UsageError(
                f"no transport URL; give --url, or set {URL_VARIABLE}, "
                "for example to zmq+sqlite:///var/lib/zmqrpc/matchmaker.db"
            )
        given = {"rpc_zmq_host": self["host"]} if self["host"] else {}
        self.settings = Settings.from_url(url, **given)
        self.target = Target(topic=self["topic"], server=self["server"], exchange=self["exchange"])
        self.applications = [(name, find(name)) for name in self["app"]]
        self.log_file: LogFile | None = None
        if self["log-file"]:
            # Made absolute and tried now: twistd changes directory, and forks, before the service starts.
            level = LogLevel.debug if self["debug"] else LogLevel.info
            self.log_file = LogFile(os.path.abspath(self["log-file"]), level)
            self.log_file.check()
            self._be_the_only_log()

    @property
    def becomes_daemon(self) -> bool:
        """Whether `twistd` runs us, and will fork before the service starts."""
        twistd = self.parent
        return twistd is not None and not (twistd.get("nodaemon", True) or twistd.get("debug", False))

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
    try:
        return Serving(
            reactor,
            options.refusals,
            options.settings,
            options.applications,
            options.target,
            options.log_file,
            trace=bool(options["debug"]),
        )
    except ConfigError as error:
        options.refusals.refuse(str(error))
