"""What a history is made of: what was asked, what ran, and what was told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from zmqrpc.errors import RemoteError
from zmqrpc.members import Answer, Reached

Id = int | str


class Event(msgspec.Struct, frozen=True, tag_field="event"):
    """One line of a history. Times are seconds of one monotonic clock that all processes share."""

    at: float


class Invoked(Event, frozen=True, tag="invoked"):
    """
    A client is about to send something.

    :ivar id: whatever names it in all processes, and is among its arguments.
    :ivar client: the instance of the client, as hex digits.
    :ivar kind: ``call``, ``cast``, ``fanout``, ``call_each`` or ``notify``.
    :ivar member: the member it is for; None for any.
    :ivar deadline: when it has to have ended.
    """

    id: Id
    client: str
    kind: str
    deadline: float
    member: str | None = None
    idempotent: bool = False


class Ran(Event, frozen=True, tag="ran"):
    """
    A method has begun.

    :ivar member: its member; the name of its pool, for a notification.
    :ivar instance: its instance, as hex digits.
    """

    id: Id
    member: str
    instance: str


class Told(msgspec.Struct, frozen=True):
    """
    What a caller was told about one instance, or about all of them.

    :ivar verdict: ``ok``; ``ran`` when the method raised, or its answer is lost; ``fail`` when it did not run; ``info``
        when it may have run; ``published`` when it was published for the instance, which says nothing.
    :ivar instance: hex digits, empty where all are meant.
    :ivar result: what the method returned.
    :ivar text: the error in words.
    :ivar addressed: the first hex digits of the instance that had it, as the error says; empty where none had.
    """

    verdict: str
    instance: str = ""
    result: Any = None
    text: str = ""
    addressed: str = ""


class Ended(Event, frozen=True, tag="ended"):
    """A caller was told the end of what it had sent."""

    id: Id
    told: list[Told]


class Died(Event, frozen=True, tag="died"):
    """
    A process was killed, or gave up what it had: what it had begun, acknowledged or sent may be gone with it.

    :ivar role: ``server`` where it served, else ``client``.
    """

    instance: str
    role: str


class Stood(Event, frozen=True, tag="stood"):
    """
    A process stands for some seconds from now: SIGSTOP, a blocked reactor, or a suspended host.

    :ivar clock: whether its clock stands as well.
    """

    instance: str
    seconds: float
    clock: bool = False


def told_by(outcome: object) -> Iterator[Told]:
    """
    Read what a Deferred brought.

    :param outcome: a result, a `Reached`, a list of `Answer`, or an error.
    """
    if isinstance(outcome, BaseException):
        yield _of_error(outcome)
    elif isinstance(outcome, Reached):
        yield from (Told("ok", instance) for _, instance in outcome.members)
        yield from (Told("published", instance) for _, instance in outcome.published)
        yield from (_of_error(error, instance) for _, instance, error in outcome.missing)
    elif type(outcome) is list and outcome and all(type(answer) is Answer for answer in outcome):
        for answer in outcome:
            error = answer.error
            yield Told("ok", answer.instance, answer.result) if error is None else _of_error(error, answer.instance)
    else:
        yield Told("ok", "", outcome)


def _of_error(error: BaseException, instance: str = "") -> Told:
    text = f"{type(error).__name__}: {error}"
    maybe_executed, did_run = getattr(error, "maybe_executed", None), getattr(error, "did_run", False)
    journey = getattr(error, "journey", None)
    addressed = journey.message_id.split("/")[1] if journey is not None and journey.message_id else ""
    if did_run:
        # An error of the method itself is as good as a result: it has to be that of this call.
        result = error.message if isinstance(error, RemoteError) else None
        return Told("ran", instance, result, text, addressed)
    if maybe_executed is None:
        return Told("unknown", instance, None, text)
    return Told("info" if maybe_executed else "fail", instance, None, text, addressed)
