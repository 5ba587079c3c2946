"""Whether a Redis database is still the one that is known, and how many use it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zmqrpc.core.spread import Crowd
from zmqrpc.matchmaker._redis.errors import RedisRefusal
from zmqrpc.matchmaker._redis.scripts import RedisScripts, Words

INQUIRY_SECONDS = 15.0
"""
Seconds at most between two questions whether the database is still the one that is known, and how many use it: a server
that is emptied ends no connection, and nobody may ask it anything else for long. Who finds it new tells everybody.
"""

NEW_EACH = 0.1
"""
Seconds at least between two times that a database is taken as new: whoever may publish could have everybody ask, and
who finds it new for the first time waits for what is said of it `answers.NEW_SECONDS`.
"""


class RedisInquiry:
    """
    Asks now and then as long as changes are told, and takes what others tell.

    :param ask: asks the server.
    :param crowd: learns how many use the database.
    :param found_new: is called when the database may be another one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Callable[[Words], Deferred[Any]],
        scripts: RedisScripts,
        crowd: Crowd,
        chance: Random,
        found_new: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._scripts = scripts
        self._crowd = crowd
        self._chance = chance
        self._found_new = found_new
        self._next: IDelayedCall | None = None
        self._may_count = True
        self._told: IDelayedCall | None = None
        self._told_at = -inf

    def start(self) -> None:
        """Take that changes are told; again does nothing."""
        if self._next is None:
            self._may_count = True
            self._again()

    def stop(self) -> None:
        """Take that they are not."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def close(self) -> None:
        """Ask and take nothing any more."""
        self.stop()
        if self._told is not None:
            self._told.cancel()
            self._told = None

    def told(self) -> None:
        """Take that somebody says that the database is new."""
        if self._told is None:
            wait = self._told_at + NEW_EACH - self._clock.seconds()
            if wait > 0:
                self._told = self._clock.callLater(wait, self._take)
            else:
                self._take()

    def _take(self) -> None:
        self._told, self._told_at = None, self._clock.seconds()
        self._found_new()

    def _again(self) -> None:
        self._next = self._clock.callLater(INQUIRY_SECONDS * self._chance.uniform(0.5, 1), self._question)

    def _question(self) -> None:
        def found(answer: Any) -> None:
            is_known = isinstance(answer, bytes) and answer.partition(b" ")[0] == b"%d" % self._scripts.seen
            # Also where there is no answer: what is wrong shows in a look.
            if not is_known and self._next is not None:
                self.told()

        self._again()
        self._ask(self._scripts.since()).addBoth(found)
        if self._may_count:
            self._ask(self._scripts.count()).addCallback(self._counted).addErrback(self._not_counted)

    def _counted(self, answer: Any) -> None:
        self._crowd.seen(int(answer[1]), self._clock.seconds())

    def _not_counted(self, failure: Failure) -> None:
        # Who may not ask goes by the topics that are watched alone.
        self._may_count = failure.check(RedisRefusal) is None
