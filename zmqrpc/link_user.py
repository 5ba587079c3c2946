"""Who hears what became of calls on links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from zmqrpc.core.envelope import Refusal, Reply
from zmqrpc.record import Record
from zmqrpc.waiter import Waiter

if TYPE_CHECKING:
    from zmqrpc.link import Link


class LinkUser(Protocol):
    """Who is told what became of calls; the delivery of the node."""

    def replied(self, call: Waiter, reply: Reply) -> None:
        """The call has ended with a failure of the method (a result is given to its waiter at once)."""

    def handed_over(self, call: Waiter) -> None:
        """A call that was queued has been given to the connection."""

    def acknowledged(self, calls: list[Waiter]) -> None:
        """Requests without an answer were acknowledged, and have ended."""

    def refused(self, call: Waiter, link: Link, reason: Refusal, text: str) -> None:
        """The call did not run, and has ended on this link."""

    def passed_on(self, calls: list[Waiter], link: Link) -> None:
        """The calls waited for another link, and are to be given to this one."""

    def rerouted(self, calls: list[Waiter], link: Link, reason: str) -> None:
        """The calls were never handed over."""

    def lost(self, calls: list[Waiter], link: Link, reason: str) -> None:
        """The instance that has the calls is gone."""

    def overdue(self, calls: list[Waiter], link: Link) -> None:
        """The deadline of the calls has come."""

    def given_up(self, calls: list[Waiter], link: Link) -> None:
        """The calls were sent as often as allowed, and never acknowledged."""

    def availability_changed(self, link: Link) -> None:
        """Calls may be given to the link, or may not any more."""

    def evidence_changed(self, link: Link) -> None:
        """The link shows something else of its instance than before, or the instance serves something else."""

    def doubted(self, link: Link, reason: str) -> None:
        """The record does not lead to its instance."""

    def promised(self, link: Link) -> Sequence[Record]:
        """List the records that lead to the link."""
