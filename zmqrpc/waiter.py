"""
What a caller waits on.

Hot path. A `Waiter` is both the Deferred that the caller holds and the entry of its call in the tables, because making
a second object, and filling it, costs 4 % of the instructions of a call at its client. With one pair of callbacks,
which is what ``await`` and most code adds, `Waiter.succeed` takes less than half of what `Deferred.callback` takes
(Twisted 26.10); that was 11 %.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, passthru
from twisted.python.failure import Failure

from zmqrpc.core.call import PendingCall

_CONTINUE: Any = getattr(defer, "_CONTINUE", None)
_DEFERREDS: Any = getattr(defer, "_DEFERRED_SUBCLASSES", None)
_PASS: Any = ((passthru, (), {}), (passthru, (), {}))


class Waiter(Deferred[Any], PendingCall):
    """
    One call, cast or fan-out that has not ended.

    It is made with its canceller; its fields as a `PendingCall` are set by who makes it.
    """

    _callbacks: list[Any]
    _runningCallbacks: bool

    def succeed(self, result: Any) -> None:
        """
        Fire with a result, unless it has fired: a callback of another may have cancelled it.

        The first pair of callbacks is run here; what is left, and every rarer case, is the business of `Deferred`.

        :param result: neither a Failure nor a Deferred.
        """
        if self.called:
            return
        callbacks = self._callbacks
        if len(callbacks) != 1 or self.paused or self.debug or callbacks[0][0][0] is _CONTINUE:
            self.callback(result)
            return
        self.called = True
        self._canceller = None
        self.result = result
        self._runningCallbacks = True
        (callback, args, keywords), _ = callbacks.pop()
        try:
            # Unpacking what is empty takes as long as the call.
            if keywords:
                result = callback(result, *args, **keywords)
            elif args:
                result = callback(result, *args)
            else:
                result = callback(result)
        except BaseException:
            result = Failure()
        self.result = result
        self._runningCallbacks = False
        if result is not None:
            kind = type(result)
            if kind in _DEFERREDS:
                # `Deferred` waits for a Deferred that a callback returns: this one returns what it is given.
                callbacks.insert(0, _PASS)
            elif not callbacks and kind is not Failure:
                return
        elif not callbacks:
            return
        self._runCallbacks()


if _CONTINUE is None or _DEFERREDS is None or not hasattr(Deferred(), "_callbacks"):
    # Another Twisted than those whose inner workings are known here.
    def _succeed(self: Waiter, result: Any) -> None:
        if not self.called:
            self.callback(result)

    Waiter.succeed = _succeed  # type: ignore[method-assign]
