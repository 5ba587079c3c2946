"""What arrives: requests, which are answered, and notifications, which are acknowledged or given back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from typing import Any

from oslo_messaging._drivers import base, common
from twisted.internet.defer import Deferred

from zmqrpc.core.envelope import Failure, FailureCode
from zmqrpc.core.notification import HANDLED, REQUEUE
from zmqrpc.core.values import encodable
from zmqrpc.forks import leave
from zmqrpc.oslo.payload import result_of
from zmqrpc.oslo.reactor import doing, is_here

_TAKES_ID = "msg_id" in signature(base.IncomingMessage.__init__).parameters
"""Where a message has no id of ours, newer ones of oslo.messaging make one that is random; older ones have none."""


class _Settled:
    """
    What somebody waits for in the reactor, and a thread brings, once.

    :ivar outcome: fires in the reactor, and never fails; cancelled, it fires with what it is made with.
    :param forgotten: what it fires with when the thread has ended without bringing anything.
    """

    def __init__(self, reactor: Any, cancelled: Any, forgotten: Any) -> None:
        self.outcome: Deferred[Any] = Deferred(lambda outcome: outcome.callback(cancelled))
        self.is_brought = False
        self._reactor = reactor
        self._forgotten = forgotten

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A server of oslo.messaging brings nothing for a method that raises SystemExit, or whose green thread is
        # killed. What that leaves holds itself, until the garbage is collected.
        if not self.is_brought and not is_finalizing() and is_here(self._reactor):
            # Not in this thread: garbage is collected in the midst of anything.
            self._reactor.callFromThread(_fire, self.outcome, self._forgotten)

    def bring(self, value: Any) -> None:
        """Bring it, from any thread; a fork that comes back to do so ends."""
        self.is_brought = True
        if is_here(self._reactor):
            doing(self._reactor)(_fire, self.outcome, value)
        elif self._reactor.running:
            # That is the parent's.
            leave()


def _fire(outcome: Deferred[Any], value: Any) -> None:
    if not outcome.called:
        outcome.callback(value)


class IncomingRequest(base.RpcIncomingMessage):  # type: ignore[misc]
    """
    A call, a cast or a fan-out that a server runs.

    :param message_id: what oslo.messaging calls it in its log.
    :param is_call: whether somebody waits for its answer.

    The caller hears from our node twice a second that it runs, so no thread of the dispatcher's has to say so:
    `client_timeout` is left None.
    """

    def __init__(
        self, context: dict[str, Any], message: dict[str, Any], message_id: str, reactor: Any, is_call: bool
    ) -> None:
        super().__init__(context, message, *(message_id,) * _TAKES_ID)
        self._is_call = is_call
        self._answer = _Settled(reactor, _CANCELLED, _FORGOTTEN)
        self.outcome = self._answer.outcome

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """
        Answer, once; nobody hears the answer of what is no call.

        :param failure: as `sys.exc_info` returns it.
        """
        if self._answer.is_brought:
            return
        if not self._is_call:
            self._answer.bring(None)
            return
        try:
            answer = result_of(reply) if failure is None else failed(failure)
        except Exception:
            answer = failed(sys.exc_info())
        self._answer.bring(answer)

    def heartbeat(self) -> None:
        """
        Do nothing, as long as it runs.

        :raises RuntimeError: it was answered, which ends a thread of the dispatcher that would go on for ever.
        """
        if self._answer.is_brought:
            raise RuntimeError("the call was answered")

    def requeue(self) -> None:
        """Do nothing: what was taken is never given to another."""


class IncomingNotification(base.IncomingMessage):  # type: ignore[misc]
    """A notification that a listener has."""

    def __init__(self, context: dict[str, Any], message: dict[str, Any], message_id: str, reactor: Any) -> None:
        super().__init__(context, message, *(message_id,) * _TAKES_ID)
        self._fate = _Settled(reactor, REQUEUE, REQUEUE)
        self.outcome = self._fate.outcome

    def acknowledge(self) -> None:
        """Say that it is done."""
        self._fate.bring(HANDLED)

    def requeue(self) -> None:
        """Give it back, for another of its pool or this one again."""
        self._fate.bring(REQUEUE)


def failed(exc_info: Any) -> Failure:
    """Write what a method raised; its traceback is what oslo.messaging makes of all of it."""
    kind, error, traceback = exc_info
    name, text = kind.__name__, _text_of(error)
    try:
        told = common.serialize_remote_exception(exc_info)
    except Exception:
        # It cannot say what it is, or JSON cannot carry what it holds: one of its name tells of it.
        bare = type(name, (Exception,), {"__module__": kind.__module__})(text)
        told = common.serialize_remote_exception((type(bare), bare, traceback))
    return Failure(FailureCode.RAISED, name, encodable(text), encodable(told))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


# Its thread cannot be stopped, and nobody hears what it answers.
_CANCELLED = Failure(FailureCode.CANCELLED, "Cancelled", "the call was cancelled")

_FORGOTTEN = Failure(FailureCode.RAISED, "NoAnswer", "the method ended its thread, and answered nothing")
