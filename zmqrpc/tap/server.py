"""`twistd zmq-rpc-server`: RPC servers in a process of their own."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.python.usage import UsageError

from zmqrpc.errors import ConfigError
from zmqrpc.settings import FIELDS
from zmqrpc.tap._applications import find
from zmqrpc.tap._notify import supervisor_of
from zmqrpc.tap._options import CommandOptions
from zmqrpc.tap._serving import Serving
from zmqrpc.target import Target

__all__ = ["Options", "makeService"]


_HOST = FIELDS["rpc_zmq_host"]


class Options(CommandOptions):
    """
    The options of `twistd zmq-rpc-server`.

    :ivar target: topic, exchange and member for an application that names none.
    :ivar applications: name and object of each ``--app``.
    """

    command = "zmq-rpc-server"
    synopsis = "[options] --app APP [--app APP ...]"
    longdesc = "Run RPC servers. SIGTERM stops them when the calls that run have ended."
    optParameters = [
        [_HOST.flag, _HOST.letter, None, _HOST.help],
        ["server", None, None, "The name of this member under its topics; default: the host"],
        ["topic", None, None, "The topic of an APP that names none"],
        ["exchange", None, None, "The exchange of an APP that names none; default: control_exchange"],
    ]
    optFlags = [["debug", "d", "Log each message, which costs more than to run a method"]]

    def __init__(self) -> None:
        super().__init__()
        self["app"] = []

    def opt_app(self, name: str) -> None:
        """Serve this: the name of an application plugin, or package.module:object. May be repeated."""
        self["app"].append(name)

    opt_a = opt_app

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise UsageError(f"{arguments[0]!r} is not an option; an application is given with --app")

    def postOptions(self) -> None:
        """Turn the options into what `makeService` needs."""
        if not self["app"]:
            raise UsageError("nothing to serve; give an application with --app NAME or --app package.module:object")
        self.read({_HOST.name: self[_HOST.flag] or None})
        self.target = Target(topic=self["topic"], server=self["server"], exchange=self["exchange"])
        self.applications = [(name, find(name)) for name in self["app"]]


def makeService(options: Options) -> IService:
    """
    Make the service; it opens nothing before it is started, so that a process may fork in between.

    :raises StartRefused: a setting is not valid.
    """
    from twisted.internet import reactor

    options.prepare(reactor)
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
            ready_file=options.ready_file,
        )
    except ConfigError as error:
        options.refusals.refuse(str(options.configuration.located(error)))
