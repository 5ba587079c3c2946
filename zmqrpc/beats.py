"""The BEATs of a node: they name what runs to who waits for it, and show who does not wait any more."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from zmqrpc.any_caller import AnyCaller
from zmqrpc.caller import Caller
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.link_timers import BEAT_SECONDS, GONE_SECONDS, GONE_THROUGH_SECONDS
from zmqrpc.core.ways import Through

if TYPE_CHECKING:
    from zmqrpc.callers import Callers

_LATE_SECONDS = 1.0


class Beats:
    """
    Those to every client, as long as anything runs or waits.

    :param callers: the clients.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar wake_at: when `sweep` has to be called next.
    """

    def __init__(self, callers: Callers, wake_by: Callable[[float], None]) -> None:
        self.wake_at = NEVER
        self._callers = callers
        self._wake_by = wake_by

    def soon(self) -> None:
        """Take that something runs or waits."""
        if self.wake_at == NEVER:
            self.wake_at = self._callers.seconds() + BEAT_SECONDS
            self._wake_by(self.wake_at)

    def sweep(self, now: float) -> None:
        """Name what runs, and give up what nobody waits for."""
        if now < self.wake_at:
            return
        requests = self._callers.requests
        self.wake_at = now + BEAT_SECONDS if requests.busy else NEVER
        waiting = requests.callers_that_wait()
        gone: set[AnyCaller] = set()
        for caller in self._callers.all():
            if caller.running or caller in waiting:
                # The CANCEL of a client that is gone, or was cut off, never comes.
                requests.begun.cancel_late(caller, now - _LATE_SECONDS)
                if caller.away_since == NEVER:
                    caller.beat()
                elif self._is_gone(caller, now):
                    gone.add(caller)
        if gone:
            self._give_up(gone)

    def _is_gone(self, caller: Caller, now: float) -> bool:
        """Tell whether a client that has no connection could have made another."""
        through = type(caller.identity) is Through
        if through and not self._callers.ways.reachable:
            # That there is no proxy says nothing of the client, which waits for one as we do.
            caller.away_since = now
        # It was found out at a BEAT, or before.
        return now >= caller.away_since + (GONE_THROUGH_SECONDS if through else GONE_SECONDS) - BEAT_SECONDS / 2

    def _give_up(self, gone: Set[AnyCaller]) -> None:
        """Cancel the calls of clients that are gone."""
        text = "client {client} has no link any more, so {number} of its calls are cancelled"
        for caller, number in self._callers.requests.abandon(gone).items():
            if number:
                self._callers.notices.count("caller_gone", text, caller.identity, number=number, client=caller.instance)
