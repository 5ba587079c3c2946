"""Which messages of a node are repetitions, and how many more there may be."""

from __future__ import annotations

from collections.abc import Collection

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.budget import RetryBudget
from zmqrpc.core.call import Stage
from zmqrpc.link import Link
from zmqrpc.notices import Notices
from zmqrpc.waiter import Waiter

_COUNT_SECONDS = 0.01
_COUNTED_SECONDS = 1.0
"""How long calls are not counted at least, when somebody wants to repeat; and at most, while links are in use."""


class Repetitions:
    """
    The budget of a node, and what its links have sent.

    :param share: repetitions for each call, as `RetryBudget` has it.
    :param links: the links that there are, whichever those are then.
    """

    def __init__(self, share: float, links: Collection[Link], notices: Notices) -> None:
        self._budget = RetryBudget(share)
        self._links = links
        self._notices = notices
        self._handed_by_others = 0
        self._renumbered = 0
        self._counted_at = -NEVER

    @property
    def first_hand_overs(self) -> int:
        """How many numbers went to calls that had none before; those that go to others are taken off beforehand."""
        return self._handed_by_others + sum(link.pending.handed for link in self._links) - self._renumbered

    def may_repeat(self, now: float, address: str) -> bool:
        """
        Take one repetition out of the budget; what cannot be had is counted and logged.

        :param address: of whom this is about.
        """
        self._count(now, _COUNT_SECONDS)
        if self._budget.take():
            return True
        text = "what {peer} did not take or answer is not repeated: repetitions have come to {share:g} of all calls"
        self._notices.count("retry_budget_spent", text, address, share=self._budget.share)
        return False

    def take_back(self, call: Waiter, link: Link | None = None, stage: Stage = Stage.RESOLVING) -> None:
        """
        Take that a call which may have been handed over is to be handed over once more, under another number.

        It is as old as it was, and no new call of which a share may be repeated.

        :param link: the link it waits for, None while that is not known.
        """
        self._renumbered += call.sequence > 0
        call.began = call.made_at
        call.unsent(call.encoded, link, stage)

    def copied(self) -> None:
        """Take that a copy of a call gets a number, which is no new call either."""
        self._renumbered += 1

    def gone(self, link: Link) -> None:
        """Take that a link is not there any more; what it has sent counts on."""
        self._handed_by_others += link.pending.handed

    def sweep(self, now: float) -> None:
        """Earn for what was sent: who repeats nothing for an hour has saved what its last calls brought."""
        self._count(now, _COUNTED_SECONDS)

    def _count(self, now: float, pause: float) -> None:
        """Earn for the calls of all links: not by each call, which would pay for it, and there may be many links."""
        if now >= self._counted_at + pause:
            self._counted_at = now
            self._budget.sent(self.first_hand_overs, now)
