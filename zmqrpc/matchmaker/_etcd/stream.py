"""One stream of watches: one question, whose answer tells changes and does not end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._etcd.access import EtcdAccess
from zmqrpc.matchmaker._etcd.answers import Change, read_line, read_store
from zmqrpc.matchmaker._etcd.errors import UNKNOWN, EtcdRefusal, Fault, NoAnswer, silent
from zmqrpc.matchmaker._etcd.words import EtcdWords
from zmqrpc.matchmaker._time_limit import TimeLimit

PROBE_SECONDS = 2.0
"""Seconds at most between two looks whether a member that tells nothing still answers."""

LONGEST_LINE = 64 * 2**20
"""Bytes after which a line that does not end is given up."""


class EtcdStream:
    """
    The watches of one node at one member, from `begin` until it ends.

    It begins with the question which store this is: in another, nothing can be resumed.

    :param check: asks whichever member answers, the current one first, for the id of the store; its answer is the
        member that is current from then on, and the id. Fails with `MatchmakerUnavailable`.
    :param begun: is called with the id of the store, before anything is watched, and returns what is: the revision from
        which on, for each topic. Where it returns nothing, the stream ends without a word.
    :param told: is called with a topic and each change of it.
    :param hears: is called when all watches have begun.
    :param ended: is called when it has ended by itself, with whether something has failed, and what is wrong with the
        member then; that is None where the check has failed, which asked all.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        access: EtcdAccess,
        words: EtcdWords,
        member: int,
        chance: Random,
        limit: float,
        check: Callable[[], Awaitable[tuple[int, str]]],
        begun: Callable[[str], Mapping[TopicKey, int]],
        told: Callable[[TopicKey, Change], None],
        hears: Callable[[], None],
        ended: Callable[[bool, Fault | None], None],
    ) -> None:
        self.member = member
        self._clock = clock
        self._access = access
        self._words = words
        self._chance = chance
        self._limit = limit
        self._check = check
        self._begun = begun
        self._told = told
        self._hears = hears
        self._ended = ended
        self._topics: dict[int, TopicKey] = {}
        self._unconfirmed: set[int] = set()
        self._rest = bytearray()
        self._store = ""
        self._heard_at = clock.seconds()
        self._over = False
        self._probing: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._beginning: TimeLimit | None = None
        self._running: Deferred[None] | None = None

    def begin(self) -> None:
        """Begin; it may have ended when this returns."""
        self._running = Deferred.fromCoroutine(self._guard(self._run()))

    def end(self) -> None:
        """End it, without a word."""
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._beginning is not None:
            self._beginning.cancel()
        for under_way in (self._probing, self._running):
            if under_way is not None:
                under_way.cancel()

    async def _guard(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Do a part of the work; when that fails, all ends."""
        try:
            await work
            return
        except MatchmakerUnavailable:
            fault = None
        except (NoAnswer, EtcdRefusal) as error:
            fault = error.fault
        except ValueError as error:
            fault = Fault(f"answered what is no answer: {error}", "correct the transport URL")
        except CancelledError:
            return
        except Exception as error:  # a fault of ours
            self._log.failure("Listening to member {number} of etcd raised", number=self.member)
            fault = Fault(
                f"is listened to no more by a fault of zmqrpc ({type(error).__name__})", "report it, see the log"
            )
        self._end_with(True, fault)

    def _end_with(self, failed: bool, fault: Fault | None = None) -> None:
        if not self._over:
            self.end()
            self._ended(failed, fault)

    async def _run(self) -> None:
        self._store = await self._probe()
        if self._over:
            return
        wanted = self._begun(self._store)
        self._topics = dict(enumerate(wanted, 1))
        self._unconfirmed = set(self._topics)
        if not wanted:
            return self.end()
        self._beginning = TimeLimit(self._clock, self._limit, self._limit, self._confirm)
        watches = ((number, topic, wanted[topic]) for number, topic in self._topics.items())
        await self._access.listen(self.member, self._words.watch(watches), self._take)
        raise NoAnswer("has ended what it told")

    # What it tells

    def _take(self, piece: bytes) -> None:
        self._heard_at = self._clock.seconds()
        self._rest += piece
        if b"\n" not in piece:
            if len(self._rest) > LONGEST_LINE:
                raise NoAnswer("does not come to an end of a line", "correct the transport URL")
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            if line and not self._over:
                self._take_line(bytes(line))

    def _take_line(self, line: bytes) -> None:
        try:
            change = read_line(self._words.names, line)
        except ValueError as error:
            raise NoAnswer(f"told what is no change: {error}", "correct the transport URL") from None
        if change.ended is not None and not change.compacted:
            raise EtcdRefusal(UNKNOWN, change.ended, 200)
        if change.number not in self._topics:
            return
        self._told(self._topics[change.number], change)
        if change.created and change.number in self._unconfirmed:
            self._unconfirmed.discard(change.number)
            if not self._unconfirmed:
                self._hears()

    # Whether it still answers

    def _confirm(self) -> None:
        self._wait()
        if self._unconfirmed:
            self._end_with(True, Fault(f"did not begin all watches within {self._limit:g} s", passes=True))

    def _wait(self) -> None:
        self._timer = self._clock.callLater(PROBE_SECONDS * self._chance.uniform(0.75, 1), self._look)

    def _look(self) -> None:
        if self._clock.seconds() - self._heard_at < PROBE_SECONDS / 2:
            self._wait()
        else:
            self._probing = Deferred.fromCoroutine(self._guard(self._compare()))

    async def _compare(self) -> None:
        current, store = await self._check()
        if current != self.member or (self._store and store != self._store):
            # It hangs, or is cut off from the others, which are heard instead; or nothing is as it was.
            self._end_with(False)
        else:
            self._store = store
            self._wait()

    async def _probe(self) -> str:
        asked = Deferred.fromCoroutine(self._access.ask(self.member, self._words.probe()))
        limit = TimeLimit(self._clock, self._limit, self._limit, asked.cancel)
        try:
            return read_store(await asked)
        except CancelledError:
            if not limit.is_up:
                raise
            raise silent(self._limit) from None
        finally:
            limit.cancel()
