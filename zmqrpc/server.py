"""The RPC server: runs the methods of its endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from zmqrpc import forks
from zmqrpc.core.envelope import Failure, FailureCode, Request
from zmqrpc.core.values import PLAIN, encodable
from zmqrpc.dispatcher import Dispatcher, Exposed
from zmqrpc.errors import AccessDenied, DeadlineExceeded, InvalidArguments, RemoteError
from zmqrpc.inherited import IN_PLACE, LENT, Lent
from zmqrpc.introspection import Introspection, nothing_to_inspect
from zmqrpc.target import Target
from zmqrpc.threads import Threads

_MOST_TEXT = 4096
_OWN_ERRORS: dict[type[BaseException], FailureCode] = {
    AccessDenied: FailureCode.ACCESS_DENIED,
    InvalidArguments: FailureCode.INVALID_ARGUMENTS,
}


class RPCServer:
    """
    One member of one topic; made by `Node.server`.

    :param threads: where the methods run that block.
    :param not_ready: tells why others cannot find it, empty when they can.
    :param inspect: tells what is going on in its node, with so many of the last events.
    :ivar target: exchange, topic and member, all set.
    """

    log = Logger()

    def __init__(
        self,
        target: Target,
        endpoints: Iterable[object],
        threads: Threads,
        send_tracebacks: bool = False,
        not_ready: Callable[[], str] = str,
        inspect: Callable[[int], dict[str, Any]] = nothing_to_inspect,
    ) -> None:
        self.target = target
        self._dispatcher = Dispatcher(endpoints, threads)
        self._dispatcher.add(Introspection(self._dispatcher, not_ready, inspect))
        self._send_tracebacks = send_tracebacks

    def run(self, request: Request) -> Any:
        """
        Run the method a request means.

        :return: its result; a `Failure` when there is no such method or it raised; or a Deferred of one of these,
            which never fails.
        """
        exposed = self._dispatcher.find(request.namespace, request.interface, request.method)
        if type(exposed) is Failure:
            return exposed
        arguments: Any = request.arguments
        if request.content_type is not None or type(arguments) is not dict:
            text = f"content type {request.content_type!r} is not known here; send plain msgpack"
            return Failure(FailureCode.INVALID_ARGUMENTS, "InvalidArguments", text)
        if exposed.waits:  # type: ignore[union-attr]
            return self._run_waiting(exposed, arguments, request)  # type: ignore[arg-type]
        try:
            result = exposed.call(request.context or {}, **arguments)  # type: ignore[union-attr]
        except BaseException as error:
            # SystemExit too: a method may end its call, not the server.
            return self._raised(error, exposed, arguments, request)  # type: ignore[arg-type]
        if type(result) in PLAIN:
            return result
        if iscoroutine(result) or isinstance(result, Deferred):
            return self._goes_on(exposed, result, [IN_PLACE[0]], request)  # type: ignore[arg-type]
        return result

    def _run_waiting(self, exposed: Exposed, arguments: dict[str, Any], request: Request) -> Any:
        """As `run`, for a method that may go on when it has returned: it keeps the deadline that it is lent."""
        lent = [IN_PLACE[0]]
        LENT.set(lent)
        try:
            result = exposed.call(request.context or {}, **arguments)
            if iscoroutine(result):
                result = Deferred.fromCoroutine(result)
        except BaseException as error:
            lent[0] = None
            return self._raised(error, exposed, arguments, request)
        finally:
            LENT.set(IN_PLACE)
        if isinstance(result, Deferred):
            return self._goes_on(exposed, result, lent, request)
        lent[0] = None
        exposed.waits = exposed.has_waited
        return result

    def _goes_on(self, exposed: Exposed, result: Any, lent: Lent, request: Request) -> Deferred[Any]:
        exposed.waits = exposed.has_waited = True
        if iscoroutine(result):
            # It has not begun.
            LENT.set(lent)
            result = Deferred.fromCoroutine(result)
            LENT.set(IN_PLACE)
        going_on: Deferred[Any] = result
        return going_on.addCallbacks(_ended, self._ended_badly, (lent,), {}, (request, lent))

    def _ended_badly(self, failure: TwistedFailure, request: Request, lent: Lent) -> Failure:
        lent[0] = None
        return self._failed(failure, request)

    def _raised(self, error: BaseException, exposed: Exposed, arguments: dict[str, Any], request: Request) -> Failure:
        if type(error) is TypeError:
            # Looked at only now, so that calls that fit pay nothing for it. A call that does not fit cannot have run.
            misfit = exposed.misfit(arguments)
            if misfit is not None:
                return Failure(FailureCode.INVALID_ARGUMENTS, "InvalidArguments", f"{request.method}: {misfit}")
        return self._failed(TwistedFailure(), request)

    def _failed(self, failure: TwistedFailure, request: Request) -> Failure:
        error = failure.value
        assert error is not None
        if isinstance(error, SystemExit):
            forks.end(error)
        # What `gatherResults` makes of it.
        first = error.subFailure.value if isinstance(error, FirstError) else error
        if isinstance(first, CancelledError):
            return Failure(FailureCode.CANCELLED, "Cancelled", f"{request.method} was cancelled")
        if isinstance(first, DeadlineExceeded) and first.inherited:
            # The caller's own: it is told where the time went, and this log nothing.
            text = f"the time was up in {request.method}: {first}"
            return Failure(FailureCode.OVERDUE, type(first).__name__, encodable(text[:_MOST_TEXT]))
        code = _OWN_ERRORS.get(type(error), FailureCode.RAISED)
        traceback = failure.getTraceback() if self._send_tracebacks else ""
        if code is FailureCode.RAISED:
            self.log.error(
                "{target} {method} raised {kind}: {error}",
                target=str(self.target),
                method=request.method,
                kind=type(error).__name__,
                error=_text(error),
                log_failure=failure,
            )
        text = error.message if isinstance(error, RemoteError) else _text(error)
        return Failure(code, type(error).__name__, encodable(text[:_MOST_TEXT]), encodable(traceback))


def _ended(value: Any, lent: Lent) -> Any:
    lent[0] = None
    return value


def _text(error: BaseException) -> str:
    """Return the exception's text, whatever its `__str__` does."""
    try:
        return str(error)
    except BaseException:
        return f"(the text of {type(error).__name__} cannot be made)"
