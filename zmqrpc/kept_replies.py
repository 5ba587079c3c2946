"""The replies that are kept for clients who may ask for them again: for how long, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqrpc.core.reply_memory import ReplyMemory

if TYPE_CHECKING:
    from zmqrpc.callers import Callers

_LOOK_SECONDS = 5.0
_LATE_SECONDS = 1.0
"""For how long after its deadline a call may end at its client, which until then may ask for the reply."""


class KeptReplies:
    """
    Those of one node.

    :param callers: the clients.
    :ivar memory: what they are part of.
    """

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self.memory = ReplyMemory(callers.settings.max_replies_memory, self._look_soon, self._dropped)

    def _look_soon(self) -> None:
        self._callers.sweep_by(self._callers.seconds() + _LOOK_SECONDS)

    def _dropped(self, number: int, option: str) -> None:
        text = "{number} replies that their clients have not settled are not kept any more ({option})"
        self._callers.notices.count("replies_forgotten", text, number=number, option=option)

    def sweep(self, now: float) -> None:
        """Keep no reply of a client when the last deadline of what it sent is over: it asks for nothing any more."""
        again = False
        for caller in self._callers.all():
            if caller.until <= caller.looked_until:
                continue
            if caller.until + _LATE_SECONDS <= now and not caller.running:
                caller.looked_until = caller.until
                caller.filter.forget_large()
            else:
                again = True
        if again:
            self._look_soon()
