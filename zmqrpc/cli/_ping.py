"""`zmqrpc ping`: calls every member of a topic, round after round."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater

from zmqrpc.cli._direct import Direct
from zmqrpc.cli._exit import Exit, exit_for
from zmqrpc.cli._members import TIMEOUT, ask_each
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report, aligned, described
from zmqrpc.cli._whom import whom
from zmqrpc.errors import NoRoute
from zmqrpc.node import connect

if TYPE_CHECKING:
    from zmqrpc.client import Answer


@attrs.define
class Pinged:
    """
    What is known of one instance.

    :ivar asked: how often it was called.
    :ivar answered: how often it answered.
    :ivar shortest: its round trips, in seconds; None before the first.
    :ivar error: how the last call ended that it did not answer.
    :ivar not_ready: why others cannot find it, as it said last: empty when they can, None when it does not tell.
    """

    member: str
    instance: str
    asked: int = 0
    answered: int = 0
    shortest: float | None = None
    longest: float = 0.0
    total: float = 0.0
    error: Exception | None = None
    not_ready: str | None = None

    def take(self, answer: Answer) -> None:
        """Take how one call ended."""
        self.asked += 1
        if answer.error is not None:
            self.error = answer.error
            return
        self.answered += 1
        self.not_ready = not_ready(answer)
        self.total += answer.seconds
        self.longest = max(self.longest, answer.seconds)
        self.shortest = answer.seconds if self.shortest is None else min(self.shortest, answer.seconds)

    @property
    def mean(self) -> float | None:
        """The mean of its round trips, in seconds; None before the first."""
        return self.total / self.answered if self.answered else None


class Rounds:
    """
    What several rounds have found.

    :ivar nobody: the last time that nobody listened, None while there is somebody.
    """

    def __init__(self) -> None:
        self._pinged: dict[tuple[str, str], Pinged] = {}
        self.nobody: Exception | None = None

    def take(self, answers: list[Answer]) -> None:
        """Take one round."""
        self.nobody = None
        for answer in answers:
            key = (answer.member, answer.instance)
            if key not in self._pinged:
                self._pinged[key] = Pinged(*key)
            self._pinged[key].take(answer)

    def __iter__(self) -> Iterator[Pinged]:
        """List the instances by member."""
        return iter([pinged for _, pinged in sorted(self._pinged.items())])

    def __bool__(self) -> bool:
        """Whether there was anybody."""
        return bool(self._pinged)


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Ping them, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration, target = whom(options, report)
    count = 1 if options.count is None else options.count
    interval = 1.0 if options.interval is None else options.interval
    rounds = Rounds()

    async def main(reactor: Any) -> int:
        ask: Callable[[], Awaitable[list[Answer]]]
        if target is None:
            ask, close = Direct(reactor, options.topic, options.timeout or TIMEOUT).ask, _nothing
        else:
            client = await connect(reactor, configuration.settings)
            ask, close = partial(ask_each, client, target, "ping", options), client.close
        try:
            number = 0
            while True:
                number += 1
                begun = reactor.seconds()
                try:
                    answers = await ask()
                except NoRoute as error:
                    rounds.nobody = error
                    answers = []
                else:
                    rounds.take(answers)
                if not report.json:
                    _tell_round(report, rounds, answers, "" if count == 1 else f"{number}: ")
                if number == count:
                    break
                await deferLater(reactor, max(0.0, begun + interval - reactor.seconds()))
        except CancelledError:
            if not rounds and rounds.nobody is None:
                raise
        finally:
            await close()
        return _tell(report, rounds, summary=count != 1)

    return on_reactor(configuration, report, main)


def _nothing() -> Deferred[None]:
    return succeed(None)


def not_ready(answer: Answer) -> str | None:
    """Read whether who answered says that others can find it; it may be an earlier release, or nothing of ours."""
    match answer.result:
        case {"ready": bool(), "not_ready": str(text)}:
            return text
    return None


def _tell_round(report: Report, rounds: Rounds, answers: list[Answer], begin: str) -> None:
    if rounds.nobody is not None and begin:
        report.note(f"{begin}nobody listens")
    for answer in answers:
        if answer.error is None:
            trouble = not_ready(answer)
            more = f", not ready: {trouble}" if trouble else ""
            report.lines([f"{begin}{answer.member}: {answer.seconds * 1e3:.2f} ms{more}"])
        else:
            report.error(answer.error, f"{begin}{answer.member}")


def _tell(report: Report, rounds: Rounds, summary: bool) -> int:
    """Sum up; as for ping(8), who has answered once is there."""
    if rounds.nobody is not None and not rounds:
        return report.error(rounds.nobody)
    if report.json:
        report.result([_described(pinged) for pinged in rounds])
    elif summary:
        report.lines(["", *aligned(list(_table(rounds)), right=frozenset(range(2, 7)))])
    silent = [(pinged.member, pinged.error) for pinged in rounds if not pinged.answered and pinged.error is not None]
    if report.json:
        for member, error in silent:
            report.error(error, member)
    return max((exit_for(error) for _, error in silent), default=Exit.DONE)


def _table(rounds: Rounds) -> Iterator[tuple[str, ...]]:
    yield ("MEMBER", "INSTANCE", "CALLS", "ANSWERS", "MIN ms", "AVG ms", "MAX ms")
    for pinged in rounds:
        times = (pinged.shortest, pinged.mean, pinged.longest if pinged.answered else None)
        figures = ["-" if seconds is None else f"{seconds * 1e3:.2f}" for seconds in times]
        yield (pinged.member, pinged.instance, str(pinged.asked), str(pinged.answered), *figures)


def _described(pinged: Pinged) -> dict[str, Any]:
    """Write it for programs; times in seconds."""
    return {
        "member": pinged.member,
        "instance": pinged.instance,
        "calls": pinged.asked,
        "answers": pinged.answered,
        "min": pinged.shortest,
        "avg": pinged.mean,
        "max": pinged.longest if pinged.answered else None,
        "ready": not pinged.not_ready if pinged.not_ready is not None else None,
        "not_ready": pinged.not_ready,
        "last_error": described(pinged.error) if pinged.error is not None else None,
    }
