"""`twistd zmq-proxy`: a proxy in a process of its own; and its other names."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import UsageError

from zmqrpc.configuration import FOR_PROXIES
from zmqrpc.errors import ConfigError
from zmqrpc.option import Option
from zmqrpc.proxy import LOCAL_PUBLISHER, ROUTERS_ONLY
from zmqrpc.settings import FIELDS
from zmqrpc.tap._notify import supervisor_of
from zmqrpc.tap._options import CommandOptions
from zmqrpc.tap._proxying import Proxying

__all__ = ["Options", "broker", "main", "makeService"]

_HOST = FIELDS["rpc_zmq_host"]
_OURS = [option for option in FIELDS.values() if option.name.startswith("proxy_") and option.flag]
_FLAGS = [option for option in _OURS if option.kind == "bool"]
_VALUES = [option for option in _OURS if option.kind != "bool"]


class Options(CommandOptions):
    """The options of `twistd zmq-proxy`."""

    command = "zmq-proxy"
    service = FOR_PROXIES
    longdesc = "Run a proxy between clients and servers. SIGTERM stops it when its clients have gone to another."
    optParameters = [
        [_HOST.flag, _HOST.letter, None, FIELDS["proxy_host"].help],
        *([option.flag, option.letter or None, None, option.help] for option in _VALUES),
    ]
    optFlags = [
        *([option.flag, option.letter or None, option.help] for option in _FLAGS),
        ["debug", "d", "Log each message, which costs more than to forward it"],
    ]

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise UsageError(f"{arguments[0]!r} is not an option")

    def postOptions(self) -> None:
        """Turn the options into what `makeService` needs."""
        given: dict[str, Any] = {option.name: True if self[option.flag] else None for option in _FLAGS}
        given |= {option.name: self._value(option) for option in _VALUES}
        local = given["proxy_local_publisher"] or given["proxy_type"] == LOCAL_PUBLISHER
        # The newer seed starts local publishers with the file of the other proxies.
        self.read({**given, "proxy_host": self[_HOST.flag] or None}, ROUTERS_ONLY if local else ())

    def _value(self, option: Option) -> Any:
        text = self[option.flag]
        if text is None:
            return None
        try:
            return option.parse(text)
        except ValueError as error:
            raise UsageError(f"option --{option.flag} is {text!r}; {error}") from None


def makeService(options: Options) -> IService:
    """
    Make the service; it opens nothing before it is started, so that a process may fork in between.

    :raises StartRefused: a setting is not valid.
    """
    from twisted.internet import reactor

    options.prepare(reactor)
    try:
        return Proxying(
            reactor,
            options.refusals,
            options.configuration,
            options.log_file,
            trace=bool(options["debug"]),
            owner=options.later_owner(),
            supervisor=supervisor_of(reactor),
            ready_file=options.ready_file,
        )
    except ConfigError as error:
        options.refusals.refuse(str(options.configuration.located(error)))


def main(*more: str) -> None:
    """
    Run ``zmq-proxy`` in the foreground: the program ``oslo-messaging-zmq-proxy``.

    :param more: options that are given besides.
    """
    from twisted.scripts.twistd import run

    Options.program = os.path.basename(sys.argv[0])
    # The driver that both seeds describe took this for the flag that it abbreviates.
    arguments = ["--local-publisher" if word == "-lp" else word for word in sys.argv[1:]]
    sys.argv[1:] = ["--nodaemon", "--pidfile=", Options.command, *more, *arguments]
    run()


def broker() -> None:
    """Run ``zmq-proxy --ipc`` in the foreground: ``oslo-messaging-zmq-broker`` and ``oslo-messaging-zmq-receiver``."""
    main("--ipc")
