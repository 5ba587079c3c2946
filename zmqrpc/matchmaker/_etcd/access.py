"""Asking one member of an etcd cluster, as somebody whom it knows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed

from zmqrpc.matchmaker._etcd.answers import read_refusal, read_token
from zmqrpc.matchmaker._etcd.errors import STALE_TOKENS, EtcdRefusal, NoAnswer
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.words import EtcdWords, Words

LARGEST_ANSWER = 64 * 2**20
"""Bytes after which an answer that does not end is given up; a page of 1,000 records is 600 KiB."""

LARGEST_REFUSAL = 4096


class EtcdAccess:
    """
    The members, one by one.

    Where the place has a user, a token is fetched with the first question, and when it is refused, or may be why there
    was no answer: a store that was emptied lets wait whoever has a token of what it was, until it has come as far.

    :param limit: seconds that a connection may take.
    """

    def __init__(self, reactor: Any, place: EtcdPlace, limit: float) -> None:
        self._reactor = reactor
        self._place = place
        self._limit = limit
        self._web: Any = None
        self._library: Any = None
        self._token: str | None = None
        self._unheard: str | None = None  # a token with which a question was given up
        self._locks = [DeferredLock() for _ in place.hosts]

    def load(self) -> None:
        """Load what is needed, which takes a while: to be called before the time of a question begins."""
        if self._web is None:
            self._library = import_module("zmqrpc.matchmaker._etcd.web")
            self._web = self._library.EtcdWeb(self._reactor, self._place, self._limit)

    async def ask(self, member: int, words: Words) -> bytes:
        """
        Ask a member.

        :raises NoAnswer: it did not answer, or somebody who is no etcd did.
        :raises EtcdRefusal: it does not do that.
        """
        answer = bytearray()

        def heard(piece: bytes) -> None:
            answer.extend(piece)
            if len(answer) > LARGEST_ANSWER:
                raise NoAnswer("does not come to an end of its answer", "correct the transport URL")

        await self._post(member, words, heard, answer.clear)
        return bytes(answer)

    async def listen(self, member: int, words: Words, heard: Callable[[bytes], None]) -> None:
        """
        Ask a member for what does not end; returns when it has ended.

        :param heard: is called with each piece; what it raises ends it.
        :raises NoAnswer, EtcdRefusal: as `ask`.
        """
        await self._post(member, words, heard, lambda: None, keep=False)

    def close(self) -> Deferred[None]:
        """End the connections on which nothing is asked."""
        return succeed(None) if self._web is None else self._web.close()

    async def _post(
        self, member: int, words: Words, heard: Callable[[bytes], None], again: Callable[[], None], keep: bool = True
    ) -> None:
        token = await self._known(member, self._unheard) if self._place.user else None
        try:
            await self._post_once(member, words, token, heard, keep)
            self._unheard = None
        except CancelledError:
            if keep:  # a stream is ended by ourselves, and in good order
                self._unheard = token
            raise
        except EtcdRefusal as refusal:
            if token is None or not refusal.says(*STALE_TOKENS):
                raise
            again()
            await self._post_once(member, words, await self._known(member, token), heard, keep)

    async def _known(self, member: int, refused: str | None) -> str:
        """Return a token that was not refused yet, and is another than that."""
        lock = self._locks[member]
        await lock.acquire()
        try:
            if self._token is None or self._token == refused:
                self._token = None
                answer = bytearray()
                words = EtcdWords.authenticate(self._place.user, self._place.password)
                await self._post_once(member, words, None, answer.extend)
                try:
                    self._token = read_token(bytes(answer))
                except ValueError as error:
                    raise NoAnswer(f"gives us no token ({error})", "see its log") from None
            return self._token
        finally:
            lock.release()

    async def _post_once(
        self, member: int, words: Words, token: str | None, heard: Callable[[bytes], None], keep: bool = True
    ) -> None:
        self.load()
        refusal = bytearray()

        def sort(status: int, piece: bytes) -> None:
            if status == 200:
                heard(piece)
            elif len(refusal) < LARGEST_REFUSAL:
                refusal.extend(piece)
            else:
                raise NoAnswer(f"answers as no etcd does (HTTP status {status})", "correct the URL")

        try:
            status = await self._web.post(member, words, token, sort, keep)
        except (NoAnswer, EtcdRefusal, CancelledError):
            raise
        except Exception as error:
            cause = self._library.cause_of(error)
            if isinstance(cause, CancelledError):
                raise cause from None
            raise self._library.error_of(cause, self._place.tls) from None
        if status != 200:
            raise read_refusal(status, bytes(refusal))
