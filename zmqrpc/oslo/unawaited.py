"""What is sent and nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from zmqrpc.errors import Journey, NoRoute, Overloaded
from zmqrpc.oslo import logs
from zmqrpc.oslo.reactor import EXIT_SECONDS, doing, exits, is_this_thread
from zmqrpc.oslo.waiting import StillUnderWay, check_running, check_waiting, wait_for

ACKNOWLEDGED_SECONDS = 1.0
"""For which who casts or fans out waits for the acknowledgement, where he does; what comes of it later is logged."""

_MOST_TRUSTED = 10_000

LOG = logs.logger(__name__)


class Unawaited:
    """
    What one transport sends to those who have taken all before.

    Who casts to somebody waits for the acknowledgement, and from then on does not, until one fails: that is logged, and
    the next one waits again, so that its sender hears what is wrong. To wait for each costs ten senders three quarters
    of what they can send. While one was waited for in vain, and has not ended, the next ones go without waiting too.

    Threads take places, the reactor gives them back. To take one is to look and then to put in: no lock holds that
    together, which would cost a green thread a tenth of a cast, so threads that look at the same time may be a few too
    many.

    While the process exits each is waited for, until one was in vain: nobody else waits then for what is under way.

    :param reactor: that of this process.
    :param most: about how many may be under way to one; who sends one more there waits for the end of any.
    :param most_to_all: about how many to all together.
    """

    def __init__(self, reactor: Any, most: int, most_to_all: int) -> None:
        self._reactor = reactor
        self._do = doing(reactor)
        self._most = most
        self._most_to_all = most_to_all
        self._places: dict[Hashable, set[object]] = {}
        self._all_places: set[object] = set()
        self._waiting: set[Any] = set()
        self._trusted: set[Hashable] = set()
        self._silent: set[Hashable] = set()
        self._sent: set[Deferred[Any]] = set()
        self._waits_at_exit = True

    def send(self, whom: Hashable, start: Callable[[], Deferred[Any]], seconds: float) -> None:
        """
        Send something, and hear what becomes of it if that is not known to be well.

        :param whom: to whom it goes; its text is logged.
        :param start: sends it, in the reactor.
        :param seconds: for which it waits for its place among those that are under way.
        :raises Overloaded: it had none.
        :raises StillUnderWay: it goes on after `ACKNOWLEDGED_SECONDS`.
        """
        if whom in self._trusted or whom in self._silent:
            self.post(whom, start, seconds)
            return
        check_waiting(self._reactor)
        place = object()
        try:
            self._take(place, whom, seconds)
            begin = partial(self._begin, place, whom, start)
            wait_for(self._reactor, begin, ACKNOWLEDGED_SECONDS, lambda end: self._came(end, whom))
        except StillUnderWay:
            self._silent.add(whom)
            if place not in self._all_places:
                # Its end came in between.
                self._silent.discard(whom)
            raise
        except BaseException:
            self._give_back(place, whom)
            raise
        self._trust(whom)

    def _trust(self, whom: Hashable) -> None:
        if len(self._trusted) >= _MOST_TRUSTED:
            self._trusted.clear()
        self._trusted.add(whom)

    def post(self, whom: Hashable, start: Callable[[], Deferred[Any]], seconds: float) -> None:
        """As `send`, for what nobody waits for."""
        check_running(self._reactor)
        place = object()
        try:
            self._take(place, whom, seconds)
            if exits() and self._waits_at_exit and not is_this_thread():
                self._post_at_exit(place, whom, start)
            else:
                self._do(self._post, place, whom, start)
        except BaseException:
            # In the main thread a signal handler may raise anywhere.
            self._give_back(place, whom)
            raise

    def _take(self, place: object, whom: Hashable, seconds: float) -> None:
        if self._has_room(whom):
            self._enter(place, whom)
            return
        check_waiting(self._reactor)
        # No lock holds the reactor up: a signal handler that sends may come to the thread that has it.
        freed = Lock()
        freed.acquire()
        self._waiting.add(freed)
        try:
            until = monotonic() + seconds
            while not self._has_room(whom):
                if not freed.acquire(timeout=max(0.0, until - monotonic())) and not self._has_room(whom):
                    raise self._refusal(whom, seconds)
            self._enter(place, whom)
        finally:
            self._waiting.discard(freed)

    def _refusal(self, whom: Hashable, seconds: float) -> Overloaded:
        there, of_all = len(self._places.get(whom, ())), len(self._all_places)
        return Overloaded(
            f"{there} messages that nobody waits for are under way there, of at most {self._most}, and {of_all} in "
            f"all, of at most {self._most_to_all} (max_queued_calls), and for {seconds:g} s there was no place for one "
            "more; send less, or look after who takes them",
            Journey(str(whom)),
        )

    def _enter(self, place: object, whom: Hashable) -> None:
        self._all_places.add(place)
        self._places.setdefault(whom, set()).add(place)

    def _has_room(self, whom: Hashable) -> bool:
        return len(self._places.get(whom, ())) < self._most and len(self._all_places) < self._most_to_all

    def _give_back(self, place: object, whom: Hashable) -> None:
        self._all_places.discard(place)
        places = self._places.get(whom)
        if places is not None:
            places.discard(place)
            if not places:
                # Another thread that adds to it at this moment is counted among all alone.
                self._places.pop(whom, None)
        # Who looks at the places has said before that he waits, be it for those of another.
        for freed in list(self._waiting):
            with suppress(RuntimeError):
                # He may have been told already.
                freed.release()

    def _post(self, place: object, whom: Hashable, start: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        return self._begin(place, whom, start).addErrback(self._came, whom)

    def _post_at_exit(self, place: object, whom: Hashable, start: Callable[[], Deferred[Any]]) -> None:
        try:
            wait_for(self._reactor, partial(self._post, place, whom, start), EXIT_SECONDS)
        except StillUnderWay:
            self._waits_at_exit = False
            LOG.warning("what was sent to %s while the process exits did not arrive within %g s", whom, EXIT_SECONDS)
        logs.flush(EXIT_SECONDS)

    def _begin(self, place: object, whom: Hashable, start: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        sent = maybeDeferred(start)
        self._sent.add(sent)
        return sent.addBoth(self._ended, sent, place, whom)

    def _ended(self, outcome: Any, sent: Deferred[Any], place: object, whom: Hashable) -> Any:
        self._sent.discard(sent)
        self._give_back(place, whom)
        return outcome

    def _came(self, outcome: Any, whom: Hashable) -> None:
        self._silent.discard(whom)
        if isinstance(outcome, Failure):
            self._trusted.discard(whom)
            # To be gone where nobody listens is what such a message is for; who stops should have given it to another.
            if not outcome.check(NoRoute):
                may_have = getattr(outcome.value, "maybe_executed", False)
                fate = "is not known to have been handled" if may_have else "did not arrive"
                LOG.warning("what was sent to %s %s: %s", whom, fate, outcome.getErrorMessage())

    def ends(self) -> list[Deferred[Any]]:
        """List what fires when each of those under way has come to its end; in the reactor."""
        ends = []
        for sent in self._sent:
            end: Deferred[Any] = Deferred()
            sent.addBoth(_also, end)
            ends.append(end)
        return ends


def _also(outcome: Any, end: Deferred[Any]) -> Any:
    end.callback(None)
    return outcome
