"""Links in every state, and what happens to them: what tests of the state machine begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_effects import (
    LAST_TOKEN,
    Effect,
)
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.core.ways import Through

IDLE, CONNECTING, UP, DRAINING, LEAVING, BACKOFF = Phase
NOW = 1000.0
SERVER, OTHER = b"s" * 16, b"o" * 16
TIMERS = LinkTimers(patience=5.0)
SILENCE = "silent for 5 s (call_monitor_timeout): stopped, blocked or cut off"
GONE_SILENT = f"no link for 0.9 s after: {SILENCE}"
GONE = "no link for 1 s after: reset"
ANOTHER = f"instance {OTHER.hex()} answered in place of {SERVER.hex()}"
MISFIT = f"instance {SERVER.hex()} answered: it is a 'client'"
STRANGER = f"{ANOTHER}: it is a 'client'"
UNWELCOME = "no WELCOME within 2 s: stopped, blocked, cut off, or no zmqrpc"
MOST_TICKS = 10_000


def going_on(holds: Callable[[], bool]) -> Iterator[None]:
    """Go on while something holds; fail, and do not hang, when a link asks for the same moment for ever."""
    for _ in range(MOST_TICKS):
        if not holds():
            return
        yield
    raise AssertionError(f"still so after {MOST_TICKS} ticks")


def tick_until(link: LinkState, until: float) -> None:
    """Tick on time, while something is outstanding."""
    for _ in going_on(lambda: link.wake_at <= until):
        link.tick(link.wake_at, True)


def grow_late(link: LinkState) -> float:
    """Tick on time until it is late, while nothing is outstanding; return when that is."""
    now = link.wake_at
    for _ in going_on(lambda: not link.late):
        now = link.wake_at
        link.tick(now, False)
    return now


# A link in each state at NOW. It came up long before, and its first connection had the routing id "1".


def idle(instance: bytes | None = SERVER) -> LinkState:
    return LinkState(instance, lambda: 1.0, TIMERS)


def resolving(instance: bytes | None = SERVER) -> LinkState:
    link = idle(instance)
    link.wanted(NOW)
    return link


def connecting(instance: bytes | None = SERVER) -> LinkState:
    link = resolving(instance)
    link.connected(NOW, b"1")
    return link


def up(instance: bytes | None = SERVER, since: float = NOW - 100) -> LinkState:
    link = idle(instance)
    link.wanted(since)
    link.connected(since, b"1")
    link.welcome(since, SERVER, 0.001)
    return link


def mute() -> LinkState:
    link = up(since=NOW - 3)
    tick_until(link, NOW)
    return link


def given_up() -> LinkState:
    """Silent for too long, and reconnecting at once."""
    link = mute()
    give_up(link)
    link.connected(NOW, b"2")
    return link


def lost() -> LinkState:
    """Lost, and reconnecting at once."""
    link = up()
    link.lost(NOW, "reset")
    link.connected(NOW, b"2")
    return link


def withdrawn() -> LinkState:
    link = up()
    link.withdrawn(NOW, "its record expired")
    return link


def leaving() -> LinkState:
    link = up()
    link.going_away(NOW, "stopping")
    return link


def left() -> LinkState:
    """Leaving, and its record is gone as well."""
    link = leaving()
    link.withdrawn(NOW, "its record expired")
    return link


def backing_off() -> LinkState:
    link = connecting()
    link.lost(NOW, "refused")
    return link


def shaky() -> LinkState:
    """Backing off, because it was lost as soon as it was up."""
    link = connecting()
    link.welcome(NOW, SERVER, 0.001)
    link.lost(NOW, "reset")
    return link


def free(link: LinkState) -> LinkState:
    """Keep a link no longer than it is needed."""
    link.kept = False
    return link


def needed() -> LinkState:
    """Being connected for a message."""
    return free(connecting())


def used() -> LinkState:
    """Up for a message."""
    return free(up())


def just_used() -> LinkState:
    """Up for a message, and only now."""
    return free(up(since=NOW))


def parting() -> LinkState:
    """Nothing is left, and it has said so."""
    link = up()
    link.released(NOW)
    return link


def parted() -> LinkState:
    """Closed, as nothing was left."""
    link = parting()
    link.tick(NOW + TIMERS.leave, False)
    return link


def reconnecting() -> LinkState:
    """Being connected for another message, of an instance that has answered just now."""
    link = free(up(since=NOW - 3))
    link.released(NOW - 2)
    link.tick(NOW - 1, False)
    link.wanted(NOW)
    link.connected(NOW, b"2")
    return link


def long_unheard() -> LinkState:
    """The same, of one that has not for long."""
    link = reconnecting()
    link.up_since = NOW + TIMERS.hello - TIMERS.silent
    return link


def connecting_again() -> LinkState:
    link = parted()
    link.wanted(NOW)
    link.connected(NOW, b"2")
    return link


def held() -> LinkState:
    """Up for nothing, while its record is not in the store."""
    link = used()
    link.held = True
    return link


def parting_both() -> LinkState:
    """Its peer stops as well."""
    link = parting()
    link.going_away(NOW, "stopping")
    return link


# A link that goes through a proxy.

WAY, OTHER_WAY = Through(b"p", SERVER), Through(b"q", SERVER)
AWAY = "the proxy is gone"


def carried(since: float = NOW - 100) -> LinkState:
    link = idle()
    link.wanted(since)
    link.connected(since, WAY)
    link.welcome(since, SERVER, 0.001)
    return link


def asking() -> LinkState:
    link = resolving()
    link.connected(NOW, WAY)
    return link


def stranded() -> LinkState:
    """There is no proxy."""
    link = resolving()
    link.postponed("no proxy")
    return link


def uprooted() -> LinkState:
    """Its proxy is gone, and another was asked."""
    link = carried()
    link.moved(NOW, AWAY)
    link.connected(NOW, OTHER_WAY)
    return link


def marooned() -> LinkState:
    """Its proxy is gone, and there is no other."""
    link = carried()
    link.moved(NOW, AWAY)
    link.postponed("no proxy")
    return link


def uprooted_and_withdrawn() -> LinkState:
    link = uprooted()
    link.withdrawn(NOW, "gone")
    return link


def leaving_behind_a_proxy() -> LinkState:
    link = carried()
    link.going_away(NOW, "stopping")
    return link


def unneeded() -> LinkState:
    """Backing off after a failure, with nothing to send."""
    return free(backing_off())


def told_to_go() -> LinkState:
    """Its peer stops, and nothing is to be sent."""
    return free(leaving())


def left_behind_a_proxy() -> LinkState:
    link = leaving_behind_a_proxy()
    link.withdrawn(NOW, "gone")
    return link


def move(link: LinkState) -> list[Effect]:
    return link.moved(NOW, AWAY)


def wanted(link: LinkState) -> list[Effect]:
    return link.wanted(NOW)


def release(link: LinkState) -> list[Effect]:
    return link.released(NOW)


def lose_nothing(link: LinkState) -> list[Effect]:
    return link.lost(NOW, "reset", outstanding=False)


def pong(token: int) -> Callable[[LinkState], list[Effect]]:
    def hear(link: LinkState) -> list[Effect]:
        arrived = link.ponged(NOW, token)
        assert arrived is (token == LAST_TOKEN and link.phase is LEAVING)
        return link.tick(NOW, False)

    return hear


def withdraw(link: LinkState) -> list[Effect]:
    return link.withdrawn(NOW, "gone")


def lose(link: LinkState) -> list[Effect]:
    return link.lost(NOW, "reset")


def give_up(link: LinkState) -> list[Effect]:
    return link.given_up(NOW)


def go_away(link: LinkState) -> list[Effect]:
    return link.going_away(NOW, "bye")


def connect(link: LinkState) -> list[Effect]:
    return link.connected(NOW, b"9")


def welcome(
    instance: bytes = SERVER, round_trip: float = 0.001, misfit: str = ""
) -> Callable[[LinkState], list[Effect]]:
    return lambda link: link.welcome(NOW, instance, round_trip, misfit)


def misfit(instance: bytes = SERVER, round_trip: float = 0.001) -> Callable[[LinkState], list[Effect]]:
    return welcome(instance, round_trip, "it is a 'client'")


def tick(after: float, outstanding: bool) -> Callable[[LinkState], list[Effect]]:
    return lambda link: link.tick(NOW + after, outstanding)
