"""
What a local publisher knows: who subscribes to what at it, and what the publishers it subscribes to have said last.

It counts nothing itself. It hands on what publishers count, repeats what they said last to who comes later, and answers
a token when its own subscriptions are in place at every publisher it is connected to (docs/spec/wire, Through a
publisher proxy). A subscription is named by its address.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from enum import Enum

from zmqrpc.core.keys import Counter, decode_counter, encode_counter, is_token, read_topic
from zmqrpc.core.publications import Say
from zmqrpc.core.surplus import NO_FILTER, Fault, Room, Surplus
from zmqrpc.core.tokens import OpenTokens


class Heard(Enum):
    """
    What is to be done with what a publisher has published.

    :cvar FORWARD: publish it.
    :cvar STRAY: nobody subscribes to it any more; drop it.
    :cvar COPY: it came from this publisher already, over another subscription: it is known by two addresses, or local
        publishers subscribe to one another in a ring; drop it.
    """

    FORWARD = "forward"
    STRAY = "stray"
    COPY = "copy"


class LocalPublications:
    """
    The filters of one local publisher.

    :param instance: its instance.
    :param most: how many filters it takes, and how many tokens wait for an answer; one more filter is refused, since to
        give up another would be to lose its messages.
    """

    def __init__(self, instance: bytes, most: int) -> None:
        self._most = most
        self._answer = encode_counter(Counter(instance, 0))
        self._filters: set[bytes] = set()
        self._room = Room(most)
        self._surplus = Surplus(most)
        self._open = OpenTokens()
        self._touched: dict[bytes, None] = {}
        self._joined: dict[bytes, None] = {}
        self._new_tokens: dict[bytes, None] = {}
        # In the order they came, with how far each subscription has to be confirmed: never less than those before.
        self._waiting: dict[bytes, Mapping[str, int]] = {}
        # Of each filter that is subscribed to: who has said what of it last.
        self._last: dict[bytes, dict[str, tuple[bytes, bytes]]] = {}

    @property
    def filters(self) -> Iterable[bytes]:
        """What has to be subscribed to."""
        return self._last.keys()

    @property
    def waiting(self) -> int:
        """How many tokens are to be answered."""
        return len(self._waiting) + len(self._new_tokens)

    # Who subscribes

    def subscribed(self, filter: bytes, connection: Hashable) -> Fault | None:
        """
        Take that a subscription to a filter has arrived.

        :param connection: by which it has come.
        :return: why it counts for nothing; None when it does not.
        """
        if is_token(filter):
            fault = self._open.subscribed(filter, connection)
            if fault is None:
                self._new_tokens[filter] = None
            return fault
        if filter in self._filters:
            self._joined[filter] = None
            return None
        if read_topic(filter) is None:
            return NO_FILTER
        if not self._room.has(filter):
            return self._surplus.add(filter)
        self._surplus.discard(filter)
        self._room.take(filter)
        self._add(filter)
        return None

    def _add(self, filter: bytes) -> None:
        self._filters.add(filter)
        self._touched[filter] = None
        if filter in self._last:
            # It was left in the same pass, and is subscribed to still.
            self._joined[filter] = None

    def unsubscribed(self, filter: bytes) -> None:
        """Take that nobody subscribes to a filter any more."""
        self._open.unsubscribed(filter)
        self._new_tokens.pop(filter, None)
        self._waiting.pop(filter, None)
        self._joined.pop(filter, None)
        self._surplus.discard(filter)
        if filter in self._filters:
            self._filters.remove(filter)
            self._touched[filter] = None
            self._room.leave(filter)
        for waiting in self._surplus.take_into(self._room):
            self._add(waiting)

    def changes(self) -> tuple[list[bytes], list[bytes]]:
        """Return which filters are to be subscribed to from now on, and which not any more."""
        last = self._last
        new = [filter for filter in self._touched if filter in self._filters and filter not in last]
        gone = [filter for filter in self._touched if filter not in self._filters and filter in last]
        self._touched.clear()
        for filter in new:
            last[filter] = {}
        for filter in gone:
            del last[filter]
        return new, gone

    def answer(self, asked: Mapping[str, int], confirmed: Mapping[str, int]) -> list[Say]:
        """
        Return what answers subscriptions now; to be called after what `changes` returned was subscribed to.

        That is for each filter that is not new the last counter of each publisher, once, and after them the tokens that
        are confirmed.

        :param asked: `SubscriptionState.asked` of each subscription.
        :param confirmed: `SubscriptionState.confirmed` of each subscription that stands, -1 included. It is these that
            have to have confirmed, and at least one.
        """
        said = [Say(key, frame) for key in self._joined for _, frame in self._last[key].values()]
        self._joined.clear()
        if self._new_tokens:
            needed = dict(asked)
            self._waiting.update((token, needed) for token in self._new_tokens)
            self._new_tokens.clear()
            while len(self._waiting) > self._most:
                # Who subscribed to it asks again.
                del self._waiting[next(iter(self._waiting))]
        while self._waiting and confirmed:
            token, most = next(iter(self._waiting.items()))
            if any(number < most.get(key, 0) for key, number in confirmed.items()):
                break
            del self._waiting[token]
            said.append(Say(token, self._answer))
        return said

    # What publishers say

    def heard(self, subscription: str, key: bytes, counter: bytes) -> Heard:
        """
        Take a counter that was published, with a payload or alone.

        :param key: its topic-key.
        :param counter: its frame.
        :raises RemoteProtocolError: it is no counter.
        """
        last = self._last.get(key)
        if last is None:
            return Heard.STRAY
        publisher = decode_counter(counter).publisher
        for other, (known, _) in last.items():
            if known == publisher and other != subscription:
                return Heard.COPY
        last[subscription] = (publisher, counter)
        return Heard.FORWARD

    def lost(self, subscription: str) -> None:
        """Take that the connection to a publisher has ended: what it said last says nothing to who comes now."""
        for last in self._last.values():
            last.pop(subscription, None)
