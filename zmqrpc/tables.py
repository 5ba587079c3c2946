"""What a node has in its tables, as an inspection tells it: calls, requests, links, clients, proxies, topics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import merge, nlargest
from itertools import chain, islice
from typing import Any

from msgspec import structs

from zmqrpc.any_caller import AnyCaller
from zmqrpc.callers import Callers
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import NOUNS, Kind, Notify, Request
from zmqrpc.core.inspected import (
    CallSeen,
    ClientSeen,
    Inspected,
    LimitSeen,
    LinkSeen,
    ProxySeen,
    RequestSeen,
    TopicSeen,
)
from zmqrpc.core.link import Phase
from zmqrpc.delivery import Delivery
from zmqrpc.link import Link
from zmqrpc.links import Links
from zmqrpc.proxies import Proxies
from zmqrpc.publishing import Publishing
from zmqrpc.running import RunningRequest
from zmqrpc.settings import Settings
from zmqrpc.subscriptions import Subscriptions
from zmqrpc.target import Pool
from zmqrpc.threads import ThreadResult, Threads
from zmqrpc.waiter import Waiter
from zmqrpc.whereabouts import Whereabouts


class Tables:
    """
    Those of one node.

    :param away: tells why the matchmaker does not answer, empty while it does.
    """

    def __init__(
        self,
        settings: Settings,
        delivery: Delivery,
        links: Links,
        callers: Callers,
        threads: Threads,
        proxies: Proxies,
        publishing: Publishing | None,
        subscriptions: Subscriptions | None,
        away: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._delivery = delivery
        self._links = links
        self._callers = callers
        self._threads = threads
        self._proxies = proxies
        self._publishing = publishing
        self._subscriptions = subscriptions
        self.whereabouts = Whereabouts(delivery, away)

    def inspect(self, seen: Inspected, most: int, now: float) -> None:
        """
        Write down what is there.

        :param most: how many rows of each table; `Inspected.left_out` gets how many there are more.
        """
        seen.serves = [
            _served(each.exchange, each.topic, each.member, each.pool) for each in self._callers.served()[:most]
        ]
        self._calls(seen, most, now)
        self._requests(seen, most, now)
        links = self._links.all()
        seen.links = [_link(link, now) for link in _first(seen, "links", links, most, _interest)]
        clients = self._callers.all()
        seen.clients = [
            ClientSeen(
                instance=caller.instance.hex(),
                connection=caller.identity.hex() if isinstance(caller.identity, bytes) else str(caller.identity),
                silent=now - caller.heard_at,
                running=len(caller.running),
                unsettled=len(caller.filter),
                unread=caller.unread,
                connected=self._callers.is_connected(caller),
            )
            for caller in _first(seen, "clients", clients, most, lambda caller: len(caller.running) + caller.unread)
        ]
        seen.proxies = list(_first(seen, "proxies", [*self._proxy_links(now), *self._publishers(now)], most))
        topics = self._delivery.table.topics()
        waiting = {id(topic): self._delivery.parked_on(topic) for topic in topics}
        seen.topics = [
            TopicSeen(
                exchange=topic.exchange,
                topic=topic.name,
                knowledge=topic.knowledge.value,
                asking=topic.resolving,
                records=len(topic.sightings),
                answered=now - topic.learned_at if topic.learned_at or topic.usable else None,
                waiting=waiting[id(topic)],
            )
            for topic in _first(seen, "topics", topics, most, lambda topic: waiting[id(topic)])
        ]
        seen.limits = list(self._limits(links))

    # Calls

    def _calls(self, seen: Inspected, most: int, now: float) -> None:
        links = self._links.all()
        tables: list[Collection[Waiter]] = self._delivery.waiting()
        for link in links:
            tables += [link.pending.outstanding(), list(link.queue)]
        if self._publishing is not None:
            tables.append(self._publishing.calls())
        count = sum(map(len, tables))
        # Each in the order in which its calls came, more or less; so of thousands few are looked at.
        oldest = islice(merge(*filter(None, tables), key=lambda call: call.made_at or 0.0), most)
        calls: list[CallSeen] = [self.whereabouts.seen(call, now) for call in oldest]
        # What is large, and not looked at, has no age.
        seen.calls = sorted(calls, key=lambda call: -NEVER if call.age is None else -call.age)
        seen.leave_out("calls", count, len(calls))

    # Requests

    def _requests(self, seen: Inspected, most: int, now: float) -> None:
        requests = self._callers.requests
        running = (self._running(each, now) for each in requests.begun)
        waiting = (
            _request(request, caller, "waiting", None, deadline - now, "waits for its turn in the reactor")
            for caller, request, deadline, _ in requests.waiting
        )
        seen.requests = list(islice(chain(running, waiting), most))
        seen.leave_out("requests", len(requests.begun) + len(requests.waiting), len(seen.requests))

    def _running(self, running: RunningRequest, now: float) -> RequestSeen:
        in_thread = isinstance(running.result, ThreadResult)
        left = running.until - now if running.until < NEVER else None
        where = self._where(running)
        if left is not None and left < 0:
            where += "; nobody waits for it any more"
        return _request(running.request, running.caller, "running", now - running.began, left, where, in_thread)

    def _where(self, running: RunningRequest) -> str:
        result = running.result
        if running.forgotten:
            return "was cancelled, since its caller is gone, and goes on"
        if not isinstance(result, ThreadResult):
            return "was cancelled, and goes on" if running.cancelled else "its method has begun, and has not ended"
        if not result.begun:
            return f"waits for a thread, {self._threads.used} run (rpc_thread_pool_size)"
        return "was cancelled, and its thread goes on" if result.cancelled else "its method runs in a thread"

    # What it is connected to

    def _proxy_links(self, now: float) -> Iterator[ProxySeen]:
        for proxy in self._proxies.there.all():
            yield ProxySeen(
                role="frontend" if proxy.role == "client" else "backend",
                member=proxy.member,
                address=proxy.address,
                phase=proxy.state.standing,
                silent=_since(proxy.liveness.heard_at, now),
                trouble=proxy.state.trouble,
            )

    def _publishers(self, now: float) -> Iterator[ProxySeen]:
        for subscription in self._subscriptions.all() if self._subscriptions is not None else ():
            state = subscription.state
            yield ProxySeen(
                role="publisher",
                member="",
                address=subscription.address,
                phase=state.phase.value,
                silent=_since(state.heard_at, now),
                trouble=state.trouble or ("" if state.current else "not everything is subscribed there yet"),
            )

    # Limits

    def _limits(self, links: list[Link]) -> Iterator[LimitSeen]:
        settings, requests = self._settings, self._callers.requests
        busy = len(requests.waiting) + requests.running
        yield LimitSeen(option="max_running_calls", used=busy, most=settings.max_running_calls)
        yield LimitSeen(option="max_running_bytes", used=requests.held_bytes, most=settings.max_running_bytes)
        yield LimitSeen(option="rpc_thread_pool_size", used=self._threads.used, most=settings.rpc_thread_pool_size)
        yield LimitSeen(option="max_clients", used=len(self._callers.all()), most=settings.max_clients)
        replies = self._callers.kept_replies.memory.held
        yield LimitSeen(option="max_replies_memory", used=replies, most=settings.max_replies_memory)
        yield LimitSeen(option="max_routes", used=len(self._delivery.table.routes), most=settings.max_routes)
        room = self._delivery.room_used()
        calls = _fullest("max_queued_calls", links, lambda link: len(link.queue), settings.max_queued_calls)
        yield _fuller(calls, [(used, where) for used, _, where in room])
        size = _fullest("max_queued_bytes", links, lambda link: link.queue.bytes, settings.max_queued_bytes)
        yield _fuller(size, [(used, where) for _, used, where in room])
        # What its instance takes may be less.
        yield _fullest("max_unsettled_calls", links, lambda link: len(link.pending), settings.max_unsettled_calls)
        yield _fullest("max_unsettled_bytes", links, lambda link: link.pending.bytes, settings.max_unsettled_bytes)


def _fullest(option: str, links: list[Link], used: Callable[[Link], int], most: int) -> LimitSeen:
    link = max(links, key=used, default=None)
    if link is None:
        return LimitSeen(option=option, used=0, most=most)
    return LimitSeen(option=option, used=used(link), most=most, where=f"{link.member} at {link.address}")


def _fuller(fullest: LimitSeen, room: list[tuple[int, str]]) -> LimitSeen:
    """
    Return that of a link, or that of what is on no link where more of it is used.

    :param room: how much of it is used, and by what.
    """
    used, where = max(room)
    return fullest if fullest.used >= used else structs.replace(fullest, used=used, where=where)


def _first(
    seen: Inspected, table: str, rows: list[Any], most: int, interest: Callable[[Any], float] | None = None
) -> Iterable[Any]:
    """Return the rows that are told, those of the most interest first."""
    first = seen.first(table, rows, most)
    return first if interest is None else nlargest(most, rows, interest)


def _interest(link: Link) -> float:
    """Tell which links to show first: those in trouble, then those with most to do."""
    troubled = link.state.mute or link.state.phase is Phase.BACKOFF or bool(link.state.trouble)
    return len(link.queue) + len(link.pending) + (1e9 if troubled else 0)


def _link(link: Link, now: float) -> LinkSeen:
    state = link.state
    return LinkSeen(
        member=link.member,
        address=link.address,
        instance=link.instance.hex() if link.instance is not None else "",
        phase=state.standing,
        silent=_since(link.liveness.heard_at, now),
        queued=len(link.queue),
        queued_bytes=link.queue.bytes,
        in_flight=len(link.pending),
        blocked=link.blocked,
        tries=state.fails,
        next_try=max(0.0, state.wake_at - now) if state.phase is Phase.BACKOFF else None,
        through=link.carrier.proxy(link),
        trouble=state.trouble,
    )


def _since(when: float, now: float) -> float | None:
    return None if when == -NEVER else now - when


def _request(
    request: Request,
    caller: AnyCaller,
    phase: str,
    age: float | None,
    left: float | None,
    where: str,
    thread: bool = False,
) -> RequestSeen:
    notified = type(request) is Notify
    target = _served(request.exchange, request.topic, request.member)
    if notified:
        target = str(Pool(request.exchange, request.topic, request.member))
    return RequestSeen(
        kind=NOUNS[Kind[type(request).__name__.upper()]],
        target=target,
        method=f"{request.namespace}.{request.method}" if request.namespace else request.method,
        client=caller.instance.hex(),
        phase=phase,
        age=age,
        left=left,
        where=where,
        thread=thread,
    )


def _served(exchange: str, topic: str, member: str | None, pool: str | None = None) -> str:
    name = f"{exchange}/{topic}.{member}" if member is not None else f"{exchange}/{topic}"
    return name if pool is None else f"{name}, pool {pool}"
