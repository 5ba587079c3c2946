"""What is sent and nobody waits for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from zmqrpc.errors import Draining, NoRoute
from zmqrpc.oslo.waiting import wait_for

ACKNOWLEDGED_SECONDS = 1.0
"""For which who casts or fans out waits for the acknowledgement, where he does; what comes of it later is logged."""

MOST_UNDER_WAY = 256
"""What one transport has sent and nobody waits for; who sends one more waits for its end."""

_MOST_TRUSTED = 10_000

LOG = logging.getLogger(__name__)


class Unawaited:
    """
    What one transport sends to those who have taken all before.

    Who casts to somebody waits for the acknowledgement, and from then on does not, until one fails: that is logged, and
    the next one waits again, so that its sender hears what is wrong. To wait for each costs ten senders three quarters
    of what they can send.

    :param reactor: that of this process.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._trusted: set[Hashable] = set()
        # Threads put in, the reactor takes out; each is one step of the interpreter, so that no lock is needed.
        self._tickets: deque[None] = deque()
        self._sent: set[Deferred[Any]] = set()

    def send(self, whom: Hashable, start: Callable[[], Deferred[Any]]) -> None:
        """
        Send something, and hear what becomes of it if that is not known to be well.

        :param whom: to whom it goes; its text is logged.
        :param start: sends it, in the reactor.
        :raises StillUnderWay: it goes on after `ACKNOWLEDGED_SECONDS`.
        """
        if whom in self._trusted and len(self._tickets) < MOST_UNDER_WAY:
            self._post(whom, start)
            return
        wait_for(self._reactor, start, ACKNOWLEDGED_SECONDS, lambda outcome: self._came(whom, outcome))
        if len(self._trusted) >= _MOST_TRUSTED:
            self._trusted.clear()
        self._trusted.add(whom)

    def post(self, whom: Hashable, start: Callable[[], Deferred[Any]]) -> None:
        """As `send`, for what nobody waits for, except where too much is under way."""
        if len(self._tickets) < MOST_UNDER_WAY:
            self._post(whom, start)
        else:
            wait_for(self._reactor, start, ACKNOWLEDGED_SECONDS, lambda outcome: self._came(whom, outcome))

    def _post(self, whom: Hashable, start: Callable[[], Deferred[Any]]) -> None:
        self._tickets.append(None)
        self._reactor.callFromThread(self._begin, whom, start)

    def _begin(self, whom: Hashable, start: Callable[[], Deferred[Any]]) -> None:
        sent = maybeDeferred(start)
        self._sent.add(sent)
        sent.addBoth(self._ended, sent, whom)

    def _ended(self, outcome: Any, sent: Deferred[Any], whom: Hashable) -> None:
        self._sent.discard(sent)
        self._tickets.pop()
        self._came(whom, outcome)

    def _came(self, whom: Hashable, outcome: Any) -> None:
        if isinstance(outcome, Failure):
            self._trusted.discard(whom)
            if not outcome.check(Draining, NoRoute):
                LOG.warning("what was sent to %s did not arrive: %s", whom, outcome.getErrorMessage())

    def ends(self) -> list[Deferred[Any]]:
        """List what fires when each of those under way has come to its end; in the reactor."""
        ends = []
        for sent in self._sent:
            end: Deferred[Any] = Deferred()
            sent.addCallback(end.callback)
            ends.append(end)
        return ends
