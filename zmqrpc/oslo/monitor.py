"""How long a call waits for somebody to take it, where its caller says for how long a server may be silent."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zmqrpc.core.call import PendingCall, Stage
from zmqrpc.errors import Cancelled, ServerLost

HELD_UP = 0.1
"""Seconds by which a timer is late where something holds up this process, which hears nothing then."""


def monitored(reactor: Any, call: Deferred[Any], seconds: float) -> Deferred[Any]:
    """
    End a call that nobody has taken after some seconds; when somebody has, `RPCClient.call` sees to it.

    Seconds for which this process was held up are not counted.

    :return: the call; it fails with `ServerLost` then.
    """
    if not isinstance(call, PendingCall):
        return call
    pending: PendingCall = call
    given_up = False
    timer: Any = None

    def wait(for_seconds: float) -> None:
        nonlocal timer
        timer = reactor.callLater(for_seconds, look, reactor.seconds() + for_seconds)

    def look(due: float) -> None:
        nonlocal given_up
        if pending.stage >= Stage.ACKNOWLEDGED:
            return
        late = reactor.seconds() - due
        if late > HELD_UP:
            # What has come meanwhile is not read yet.
            wait(late)
        else:
            given_up = True
            call.cancel()

    wait(seconds)

    def ended(outcome: Any) -> Any:
        if timer.active():
            timer.cancel()
        error = outcome.value if isinstance(outcome, Failure) else None
        if given_up and isinstance(error, Cancelled):
            text = f"nobody has taken the call within call_monitor_timeout ({seconds:g} s)"
            return Failure(ServerLost(text, error.journey, error.maybe_executed))
        return outcome

    return call.addBoth(ended)
