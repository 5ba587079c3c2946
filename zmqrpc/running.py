"""The requests that go on running after their pass: who waits for them, until when, and how they are cancelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmqrpc.any_caller import AnyCaller
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Failure, FailureCode, Request
from zmqrpc.core.load import Load
from zmqrpc.core.ranges import Ranges
from zmqrpc.spelling import first_of, shown


class RunningRequest(Struct, eq=False):
    """
    A request that goes on running.

    :ivar result: the Deferred that will end it.
    :ivar until: until when its caller waits; infinity for ever, as for what is none but a CALL.
    :ivar began: since when it runs.
    :ivar share: how many bytes of the load it is.
    :ivar cancelled: whether it was cancelled; it may go on, to clean up, and is not to be disturbed at that.
    :ivar forgotten: what its caller is told if it ends as cancelled, should he ask; empty for that it was cancelled.
    """

    caller: AnyCaller
    request: Request
    result: Deferred[Any]
    until: float
    began: float
    share: int
    cancelled: bool = False
    forgotten: str = ""


class Running:
    """
    All of a node, in the order in which they were begun; each is in `Caller.running` of its caller as well.

    :ivar all: they themselves, as keys.
    :param load: whose bytes they are.
    :param ended: told what one has brought, when it is none of these any more.
    :param began: told when there is one more.
    """

    log = Logger()

    def __init__(self, load: Load, ended: Callable[[AnyCaller, Request, Any], None], began: Callable[[], None]) -> None:
        self._load = load
        self._told_ended = ended
        self._told_began = began
        self.all: dict[RunningRequest, None] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.all)

    def __iter__(self) -> Iterator[RunningRequest]:
        """Go through all, the first that was begun first."""
        return iter(self.all)

    def begin(
        self, caller: AnyCaller, request: Request, result: Deferred[Any], until: float, now: float, behind: int
    ) -> None:
        """
        Take that a request goes on running.

        :param behind: how many wait behind it.
        """
        running = RunningRequest(caller, request, result, until, now, self._load.began(behind))
        caller.running[request.sequence] = running
        self.all[running] = None
        self._told_began()
        result.addCallback(self._ended, running)

    def _ended(self, value: Any, running: RunningRequest) -> None:
        del running.caller.running[running.request.sequence]
        del self.all[running]
        if running.forgotten and type(value) is Failure and value.code == FailureCode.CANCELLED:
            value = Failure(FailureCode.FORGOTTEN, "", running.forgotten)
        self._load.ended(running.share)
        self._told_ended(running.caller, running.request, value)

    @staticmethod
    def named(caller: AnyCaller, meant: Ranges, parts: list[tuple[int, int]], number: int) -> list[RunningRequest]:
        """
        List those of a client that it names.

        :param parts: the ranges that `meant` is made of.
        :param number: how many sequences are in them.
        """
        running = caller.running
        if number < len(running):
            numbers = (sequence for low, high in parts for sequence in range(low, high + 1))
            return [running[sequence] for sequence in numbers if sequence in running]
        return [each for sequence, each in running.items() if sequence in meant]

    def cancel(self, running: Iterable[RunningRequest]) -> None:
        """Cancel calls, once each; an endpoint that runs for a notification goes on, as casts do."""
        for each in [each for each in running if each.until < NEVER and not each.cancelled]:
            self._cancel(each)

    def cancel_late(self, caller: AnyCaller, since: float) -> None:
        """Cancel the calls of a client for which it has not waited since a time, and has not said so."""
        self.cancel(each for each in caller.running.values() if each.until <= since)

    def abandon(self, caller: AnyCaller) -> int:
        """Cancel the calls that run for one who is gone, and return how many; nobody waits for anything else."""
        calls = [each for each in caller.running.values() if each.until < NEVER and not each.cancelled]
        for each in calls:
            # As at a stop: to the caller, when it comes back, it is as if the process had gone.
            each.forgotten = "the server cancelled it: its client had no link to it"
        self.cancel(calls)
        return len(calls)

    def cancel_all(self) -> None:
        """
        Cancel whatever runs, and log what that is.

        So is what was cancelled before: neither a thread nor a clean-up is waited for.
        """
        methods = Counter(each.request.method for each in self.all).most_common()
        if methods:
            told = first_of([f"{number} of {shown(method)}" for method, number in methods], ", ")
            self.log.warn(
                "the time to drain is up (drain_timeout), and what still runs is given up: {methods}", methods=told
            )
        for each in list(self.all):
            self._cancel(each)

    def _cancel(self, running: RunningRequest) -> None:
        """Cancel one, whatever its canceller raises."""
        running.cancelled = True
        try:
            running.result.cancel()
        except BaseException:
            self.log.failure("a method could not be cancelled")
