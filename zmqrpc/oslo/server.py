"""A server whose every method is found by oslo.messaging."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import uuid4

from zmqrpc.core.envelope import Call, Failure, FailureCode, Request
from zmqrpc.dispatcher import OWN_NAMESPACE, expose
from zmqrpc.oslo.incoming import IncomingRequest
from zmqrpc.oslo.payload import Parts, message_of
from zmqrpc.server import RPCServer

Hand = Callable[[list[Any]], None]
"""What takes a batch of incoming messages."""


class AnyMethod:
    """What ``zmqrpc describe`` tells of such a server."""

    @expose
    def any_method(self, context: Any, **arguments: Any) -> Any:
        """Stands for the methods of an oslo.messaging server, which only its own dispatcher knows."""
        raise AttributeError("any_method stands for the methods of an oslo.messaging server and is none of them")


class OsloServer(RPCServer):
    """
    One target that oslo.messaging listens on; `Node.server` makes it.

    :param hand: takes what arrives.
    :param reactor: in which it does, and in which what it brings fires.
    """

    def __init__(self, hand: Hand, reactor: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hand = hand
        self._reactor = reactor
        # One that is random altogether takes 8 us.
        self._called = uuid4().hex
        self._numbers = count(1)

    def run(self, request: Request) -> Any:
        """Hand on a request; as `RPCServer.run`."""
        if request.namespace == OWN_NAMESPACE:
            return super().run(request)
        arguments: Any = request.arguments
        if request.content_type is not None or type(arguments) is not dict:
            return super().run(request)
        parts = Parts(request.method, request.namespace, request.interface, arguments, request.context)
        try:
            message, context = message_of(parts)
            if not isinstance(message, dict):
                raise ValueError("the message is no dict")
        except ValueError as error:
            return Failure(FailureCode.INVALID_ARGUMENTS, "InvalidArguments", f"{request.method}: {error}")
        incoming = IncomingRequest(
            context, message, f"{self._called}-{next(self._numbers)}", self._reactor, type(request) is Call
        )
        self._hand([incoming])
        return incoming.outcome
