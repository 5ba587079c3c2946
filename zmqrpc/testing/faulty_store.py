"""A store that tests do harm to, for the suite of matchmakers under faults; docs/howto/write-a-matchmaker."""

from __future__ import annotations

from collections.abc import Awaitable

from zope.interface import Attribute, Interface

from zmqrpc.interfaces import IMatchmaker

FAULTS = frozenset(
    (
        *("kill", "hang", "slow", "refuse", "fail_over", "hang_over", "split", "step_clock"),
        *("make_stranger", "admit_stranger"),
    )
)
"""What `IFaultyStore.cannot` may name."""


class IFaultyStore(Interface):
    """
    A store of the tests' own, which starts empty, and what can happen to it.

    What is done to it has happened when the awaitable is over. A fault that it cannot have is named in `cannot`, and
    its method raises `NotImplementedError` when it is called: that it cannot be is said, and tests go by it.
    """

    cannot = Attribute("Those of `FAULTS` that it cannot have; a set of str.")
    keeps = Attribute("Whether it has what it had when it is started again after `kill`; a bool.")
    reads_while_hung = Attribute("Whether who only reads is answered while it hangs; a bool.")
    together = Attribute("How much of what is asked at once is one operation at most, an int; 1 where each is its own.")
    limit = Attribute("Seconds within which its matchmakers give up an operation.")
    named = Attribute(
        "What every sentence about its failures names: an address or a path, a str; of a store with several addresses "
        "a tuple of them, one of which a sentence names at least."
    )
    secret = Attribute("The password that a stranger has; a str that stands nowhere else.")

    def make_matchmaker() -> IMatchmaker:
        """Make a matchmaker of the store, which need not be there."""

    def make_stranger() -> IMatchmaker:
        """Make a matchmaker with a password that the store does not accept."""

    def make_stranded() -> IMatchmaker:
        """Make a matchmaker that reaches nothing but what `split` cuts off."""

    def admit_stranger() -> Awaitable[None]:
        """Have the store accept what a stranger says."""

    def kill() -> Awaitable[None]:
        """End it as a crash does: nobody is there any more."""

    def start(empty: bool) -> Awaitable[None]:
        """
        Have it be there again after `kill`, at the same place, or have the old leader be there after `fail_over`.

        :param empty: whether it has lost what it had, even if it `keeps` that.
        """

    def hang() -> Awaitable[None]:
        """Have it take what it is asked and answer nothing, or do nothing until `resume`."""

    def resume() -> Awaitable[None]:
        """Have it go on after `hang`, or have the old leader go on after `hang_over`."""

    def slow(seconds: float) -> Awaitable[None]:
        """Have what is asked by matchmakers that are made from now on be answered so much later; 0 ends it."""

    def turns() -> int | None:
        """Tell how often somebody has waited for an answer of it since `slow`; None when it cannot count."""

    def refuse() -> Awaitable[None]:
        """Have it be there, and refuse what would change it, or whatever it is asked, until `accept`."""

    def accept() -> Awaitable[None]:
        """Have it do again what it has refused."""

    def tries() -> int | None:
        """
        Tell how often it was asked, or somebody has tried to reach it, since this was called last.

        Of a store with several addresses it is the number of the one that has most. None when it cannot count.
        """

    def fail_over() -> Awaitable[None]:
        """Kill the leader, and wait until another has taken over; `start` brings the old one back, as a follower."""

    def hang_over() -> Awaitable[None]:
        """Have the leader hang, and wait until another has taken over."""

    def split() -> Awaitable[None]:
        """Cut a minority off from the others, all of which go on."""

    def heal() -> Awaitable[None]:
        """Join again what was split."""

    def step_clock(seconds: float) -> Awaitable[None]:
        """Set the clock on its wall forward, or back where that is less than 0."""
