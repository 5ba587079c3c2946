"""The state machine of one link: plain calls in, effects out; no reactor, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_effects import (
    LAST_TOKEN,
    Connect,
    Doubt,
    Drop,
    Effect,
    Flush,
    Lose,
    Reroute,
    SayGoodbye,
    SayHello,
    SayPing,
)
from zmqrpc.core.link_timers import LinkTimers, through_proxies
from zmqrpc.core.ways import Through

IDLE, CONNECTING, UP, DRAINING, LEAVING, BACKOFF = Phase
NOW = 1000.0
SERVER, OTHER = b"s" * 16, b"o" * 16
TIMERS = LinkTimers(patience=5.0)
SILENCE = "silent for 5 s (call_monitor_timeout): stopped, blocked or cut off"
GONE_SILENT = f"no link for 1 s after: {SILENCE}"
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


# state, event, effects, next state
ROWS: list[tuple[Callable[[], LinkState], Callable[[LinkState], list[Effect]], list[Effect], Phase]] = [
    (idle, wanted, [Connect(1)], CONNECTING),
    (idle, withdraw, [Reroute("gone")], IDLE),
    (idle, lose, [], IDLE),
    (idle, go_away, [], IDLE),
    (idle, welcome(), [], IDLE),
    (idle, tick(1e6, False), [], IDLE),
    # The host name is being resolved: there is no routing id yet.
    (resolving, connect, [SayHello()], CONNECTING),
    (resolving, lose, [Drop(None), Reroute("reset")], BACKOFF),
    (resolving, withdraw, [Reroute("gone"), Drop(None)], IDLE),
    (
        resolving,
        tick(TIMERS.hello, False),
        [Drop(None), Reroute("no WELCOME within 2 s: stopped, blocked, cut off, or no zmqrpc")],
        BACKOFF,
    ),
    (connecting, wanted, [], CONNECTING),
    (connecting, welcome(), [Flush()], UP),
    (connecting, welcome(round_trip=TIMERS.short_round_trip), [SayHello()], CONNECTING),
    (connecting, welcome(OTHER), [Drop(b"1"), Reroute(ANOTHER), Doubt(ANOTHER)], BACKOFF),
    (connecting, misfit(), [Drop(b"1"), Reroute(MISFIT), Doubt(MISFIT)], BACKOFF),
    (connecting, misfit(round_trip=0.5), [Drop(b"1"), Reroute(MISFIT), Doubt(MISFIT)], BACKOFF),
    (connecting, misfit(OTHER), [Drop(b"1"), Reroute(STRANGER), Doubt(STRANGER)], BACKOFF),
    (connecting, lose, [Drop(b"1"), Reroute("reset")], BACKOFF),
    (connecting, go_away, [], CONNECTING),
    (connecting, withdraw, [Reroute("gone"), Drop(b"1")], IDLE),
    (connecting, tick(TIMERS.hello - 0.001, False), [], CONNECTING),
    (
        connecting,
        tick(TIMERS.hello, False),
        [Drop(b"1"), Reroute("no WELCOME within 2 s: stopped, blocked, cut off, or no zmqrpc")],
        BACKOFF,
    ),
    (up, wanted, [], UP),
    (up, welcome(), [], UP),  # a server says it again when its targets change
    (up, misfit(), [], UP),
    (up, lose, [Drop(b"1"), Connect(2)], CONNECTING),
    (up, go_away, [Reroute("bye")], DRAINING),
    (up, withdraw, [Reroute("gone")], DRAINING),
    (mute, lose, [Drop(b"1"), Connect(2)], CONNECTING),
    (mute, withdraw, [Reroute("gone")], DRAINING),
    # Lost while something handed over is not answered: what follows tells whether the instance is still there.
    (lost, welcome(), [Flush()], UP),
    (lost, welcome(round_trip=0.5), [SayHello()], CONNECTING),
    (lost, welcome(OTHER), [Drop(b"2"), Lose(ANOTHER), Reroute(ANOTHER), Doubt(ANOTHER)], BACKOFF),
    (lost, misfit(), [Drop(b"2"), Lose(MISFIT), Reroute(MISFIT), Doubt(MISFIT)], BACKOFF),
    (lost, lose, [Drop(b"2"), Lose("reset"), Reroute("reset"), Doubt("reset")], BACKOFF),
    (lost, withdraw, [Reroute("gone"), Lose("gone"), Drop(b"2")], IDLE),
    (lost, tick(TIMERS.lost - 0.001, True), [], CONNECTING),
    (lost, tick(TIMERS.lost, True), [Lose(GONE), Doubt(GONE)], CONNECTING),
    # Given up for its silence: as if it were lost.
    (idle, give_up, [], IDLE),
    (mute, give_up, [Drop(b"1"), Connect(2)], CONNECTING),
    (used, give_up, [Drop(b"1"), Connect(2)], CONNECTING),
    (leaving, give_up, [Drop(b"1"), Connect(2)], CONNECTING),
    (withdrawn, give_up, [Drop(b"1"), Reroute(SILENCE), Lose(SILENCE)], IDLE),
    (given_up, give_up, [Drop(b"2"), Lose(SILENCE), Reroute(SILENCE), Doubt(SILENCE)], BACKOFF),
    (given_up, welcome(), [Flush()], UP),
    (given_up, lose, [Drop(b"2"), Lose("reset"), Reroute("reset"), Doubt("reset")], BACKOFF),
    (given_up, tick(TIMERS.resume - 0.001, True), [], CONNECTING),
    (given_up, tick(TIMERS.resume, True), [Lose(GONE_SILENT), Doubt(GONE_SILENT)], CONNECTING),
    (withdrawn, wanted, [], UP),  # its record came back
    (withdrawn, welcome(), [], DRAINING),
    (withdrawn, withdraw, [Reroute("gone")], DRAINING),
    (withdrawn, lose, [Drop(b"1"), Reroute("reset"), Lose("reset")], IDLE),
    (withdrawn, go_away, [Reroute("bye")], DRAINING),
    (withdrawn, tick(0, True), [SayPing(None)], DRAINING),
    (withdrawn, tick(0, False), [Drop(b"1")], IDLE),
    # The deadlines of the calls end it, or its silence, not a time of its own.
    (withdrawn, tick(TIMERS.drain, True), [SayPing(None)], DRAINING),
    (withdrawn, misfit(), [], DRAINING),
    (leaving, wanted, [], DRAINING),
    (leaving, lose, [Drop(b"1"), Connect(2)], CONNECTING),
    (leaving, go_away, [Reroute("bye")], DRAINING),
    (leaving, withdraw, [Reroute("gone")], DRAINING),
    (leaving, tick(0, False), [], DRAINING),  # the peer closes; closing first could swallow our answer to its GOAWAY
    (leaving, tick(TIMERS.drain, False), [Drop(b"1")], BACKOFF),
    (leaving, tick(TIMERS.drain, True), [SayPing(None)], DRAINING),  # its drain_timeout may be longer than ours
    (left, wanted, [], DRAINING),
    (left, lose, [Drop(b"1"), Reroute("reset"), Lose("reset")], IDLE),
    (left, tick(TIMERS.drain, False), [Drop(b"1")], IDLE),
    (backing_off, wanted, [], BACKOFF),
    (backing_off, welcome(), [], BACKOFF),
    (backing_off, misfit(), [], BACKOFF),
    (backing_off, lose, [], BACKOFF),
    (backing_off, go_away, [], BACKOFF),
    (backing_off, withdraw, [Reroute("gone")], IDLE),
    (backing_off, tick(0.1, False), [], BACKOFF),
    (backing_off, tick(0.2, False), [Connect(2)], CONNECTING),
    # Not kept: connected only while it is needed.
    (idle, release, [], IDLE),
    (connecting, release, [], CONNECTING),  # it completes its handshake, and says that it goes
    (backing_off, release, [], BACKOFF),
    (leaving, release, [], DRAINING),
    (up, release, [SayGoodbye()], LEAVING),
    (mute, release, [SayGoodbye()], LEAVING),
    (needed, lose, [Drop(b"1"), Reroute("reset")], BACKOFF),
    (needed, welcome(), [Flush()], UP),
    (used, lose, [Drop(b"1"), Connect(2)], CONNECTING),
    (used, lose_nothing, [Drop(b"1"), Reroute("reset")], IDLE),
    (up, lose_nothing, [Drop(b"1"), Connect(2)], CONNECTING),
    (just_used, lose, [Drop(b"1"), Reroute("reset")], BACKOFF),
    (just_used, lose_nothing, [Drop(b"1"), Reroute("reset")], BACKOFF),
    (told_to_go, lose_nothing, [Drop(b"1"), Reroute("reset")], BACKOFF),
    (told_to_go, lose, [Drop(b"1"), Connect(2)], CONNECTING),
    (unneeded, tick(0.2, False), [Connect(2)], CONNECTING),  # it comes back by itself
    (unneeded, tick(0.2, True), [Connect(2)], CONNECTING),
    (parting, wanted, [], LEAVING),
    (parting, release, [], LEAVING),
    (parting, welcome(), [], LEAVING),
    (parting, pong(1), [], LEAVING),
    (parting, pong(LAST_TOKEN), [Drop(b"1")], IDLE),
    (parting, tick(TIMERS.leave - 0.001, False), [], LEAVING),
    (parting, tick(TIMERS.leave, False), [Drop(b"1")], IDLE),
    (parting, lose, [Drop(b"1")], IDLE),
    (parting, withdraw, [Reroute("gone")], LEAVING),
    (parting, go_away, [Reroute("bye")], LEAVING),
    (parting_both, tick(0, False), [Drop(b"1")], BACKOFF),
    (parting_both, lose, [Drop(b"1")], BACKOFF),
    (parting_both, withdraw, [Reroute("gone")], LEAVING),
    (parted, wanted, [Connect(2)], CONNECTING),
    (parted, withdraw, [Reroute("gone")], IDLE),
    (parted, tick(1e6, False), [], IDLE),
    # Its instance has answered a moment ago, so that what waits for it waits on: packets are lost.
    (reconnecting, tick(TIMERS.hello, False), [Drop(b"2"), Connect(3)], CONNECTING),
    (long_unheard, tick(TIMERS.hello, False), [Drop(b"2"), Reroute(UNWELCOME)], BACKOFF),
    (connecting_again, lose, [Drop(b"2"), Reroute("reset")], BACKOFF),
    (held, lose_nothing, [Drop(b"1"), Connect(2)], CONNECTING),
    (held, withdraw, [Reroute("gone")], DRAINING),
    (shaky, withdraw, [Reroute("gone"), Lose("gone")], IDLE),
    (shaky, tick(0.1, True), [Connect(2)], CONNECTING),
    (shaky, tick(1, True), [Lose(GONE), Doubt(GONE), Connect(2)], CONNECTING),
    # Through proxies: that one is gone says nothing of the peer.
    (idle, move, [], IDLE),
    (backing_off, move, [], BACKOFF),
    (asking, move, [Drop(WAY), Connect(2)], CONNECTING),
    (carried, move, [Drop(WAY), Connect(2)], CONNECTING),
    (leaving_behind_a_proxy, move, [Drop(WAY), Connect(2)], CONNECTING),
    (left_behind_a_proxy, move, [Drop(WAY), Connect(2)], CONNECTING),
    (stranded, tick(1e6, False), [], CONNECTING),
    (stranded, lambda link: link.connected(NOW + 50, WAY), [SayHello()], CONNECTING),
    (stranded, withdraw, [Reroute("gone"), Drop(None)], IDLE),
    (marooned, tick(1e6, True), [], CONNECTING),
    (marooned, withdraw, [Reroute("gone")], CONNECTING),
    (uprooted, welcome(), [Flush()], UP),
    (uprooted, move, [Drop(OTHER_WAY), Connect(3)], CONNECTING),
    (uprooted, lose, [Drop(OTHER_WAY), Lose("reset"), Reroute("reset")], BACKOFF),
    (uprooted, tick(TIMERS.lost, True), [Lose(f"no link for 1 s after: {AWAY}")], CONNECTING),
    (uprooted, withdraw, [Reroute("gone")], CONNECTING),
    (uprooted_and_withdrawn, welcome(), [Flush()], DRAINING),
    (uprooted_and_withdrawn, lose, [Drop(OTHER_WAY), Lose("reset"), Reroute("reset")], IDLE),
    (uprooted_and_withdrawn, wanted, [], CONNECTING),
    # Nothing but an answer to a PING shows that a peer behind a proxy is there.
    (leaving_behind_a_proxy, tick(0, True), [SayPing(None)], DRAINING),
    (leaving_behind_a_proxy, tick(0, False), [], DRAINING),
    (left_behind_a_proxy, tick(0, False), [Drop(WAY)], IDLE),
]


class TransitionTests(SynchronousTestCase):
    def test_rows(self):
        for number, (state, event, effects, phase) in enumerate(ROWS):
            with self.subTest(row=number, state=state.__name__):
                link = state()
                self.assertEqual((event(link), link.phase), (effects, phase), f"row {number}: {state.__name__}")

    def test_every_state_is_in_a_row(self):
        self.assertEqual({state().phase for state, *_ in ROWS}, set(Phase))

    def test_available_while_recorded_and_not_backing_off_stopping_or_mute(self):
        expected = {idle: True, resolving: True, connecting: True, up: True, lost: True}
        expected |= {mute: False, withdrawn: False, leaving: False, left: False, backing_off: False, shaky: False}
        expected |= {needed: True, used: True, parting: True, parting_both: False, unneeded: False, told_to_go: False}
        expected |= {given_up: False}
        self.assertEqual({state: state().available for state in expected}, expected)

    def test_promising_when_up_or_connected_as_soon_as_it_is_needed(self):
        expected = {idle: False, connecting: False, up: True, mute: True, leaving: False, backing_off: False}
        expected |= {needed: True, used: True, parting: True, parting_both: False, unneeded: False, told_to_go: False}
        self.assertEqual({state: state().promising for state in expected}, expected)

    def test_evidence(self):
        expected = dict.fromkeys((idle, resolving, connecting, withdrawn, leaving, left, backing_off), Evidence.NONE)
        expected |= dict.fromkeys((needed, parting_both, unneeded, told_to_go), Evidence.NONE)
        expected |= dict.fromkeys((parting, parted), Evidence.UNASKED)
        expected |= {up: Evidence.ALIVE, used: Evidence.ALIVE, **dict.fromkeys((mute, lost, shaky), Evidence.UNSURE)}
        self.assertEqual({state: state().evidence for state in expected}, expected)

    def test_who_is_not_asked_is_believed_to_be_there_until_it_shows_otherwise(self):
        for change, evidence in (
            (lambda link: None, Evidence.UNASKED),
            (lose, Evidence.NONE),
            (welcome(), Evidence.ALIVE),
            (welcome(OTHER), Evidence.NONE),
            (withdraw, Evidence.NONE),
        ):
            link = connecting_again()
            change(link)
            self.assertEqual(link.evidence, evidence)

    def test_evidence_after_a_loss_lasts_until_it_is_known(self):
        # what follows the loss, what the link shows then
        rows = [
            (welcome(), Evidence.ALIVE),
            (welcome(round_trip=0.5), Evidence.UNSURE),
            (welcome(OTHER), Evidence.NONE),
            (lose, Evidence.NONE),
            (withdraw, Evidence.NONE),
            (tick(TIMERS.lost - 0.001, True), Evidence.UNSURE),
            (tick(TIMERS.lost, True), Evidence.NONE),
        ]
        for number, (event, evidence) in enumerate(rows):
            link = lost()
            event(link)
            self.assertEqual(link.evidence, evidence, f"row {number}")
        link = shaky()
        link.tick(NOW + TIMERS.lost, True)
        self.assertEqual(link.evidence, Evidence.NONE)

    def test_recorded_follows_the_record(self):
        link = up()
        self.assertTrue(link.recorded)
        link.withdrawn(NOW, "gone")
        self.assertFalse(link.recorded)
        link.wanted(NOW)
        self.assertTrue(link.recorded)

    def test_trouble_says_why_until_the_link_is_up(self):
        link = backing_off()
        self.assertEqual(link.trouble, "refused")
        link.tick(NOW + 1, False)
        link.connected(NOW + 1, b"2")
        self.assertEqual(link.trouble, "refused")
        link.welcome(NOW + 1, SERVER, 0.001)
        self.assertEqual(link.trouble, "")

    def test_a_record_that_came_back_leaves_no_trouble(self):
        link = withdrawn()
        link.wanted(NOW)
        self.assertEqual(link.trouble, "")


class ProxiedTests(SynchronousTestCase):
    def test_who_is_given_up_behind_a_proxy_has_a_second_as_well(self):
        """Where a loss takes longer to judge, since the proxy that is asked may be silent."""
        link = LinkState(SERVER, lambda: 1.0, through_proxies(TIMERS))
        link.wanted(NOW - 100)
        link.connected(NOW - 100, WAY)
        link.welcome(NOW - 100, SERVER, 0.001)
        link.given_up(NOW)
        link.connected(NOW, OTHER_WAY)
        self.assertEqual(link.tick(NOW + TIMERS.resume - 0.001, True), [])
        self.assertEqual(link.tick(link.wake_at, True), [Lose(GONE_SILENT), Doubt(GONE_SILENT)])
        # The next loss is judged as any other.
        link.welcome(NOW + 2, SERVER, 0.001)
        link.lost(NOW + 100, "reset")
        link.connected(NOW + 100, WAY)
        self.assertEqual(link.tick(NOW + 102, True), [])
        self.assertEqual(link.tick(NOW + 102.5, True)[0], Lose("no link for 2.5 s after: reset"))

    def test_who_is_given_up_while_there_is_no_proxy_is_not_lost(self):
        link = carried()
        link.given_up(NOW)
        link.postponed("no proxy")
        self.assertEqual(link.tick(NOW + 1e6, True), [])
        later = NOW + 1e6
        link.connected(later, OTHER_WAY)
        self.assertEqual(link.welcome(later + 0.001, SERVER, 0.001), [Flush()])

    def test_time_counts_from_when_there_is_a_proxy(self):
        link = marooned()
        self.assertEqual(link.wake_at, NEVER)
        later = NOW + 100
        link.connected(later, OTHER_WAY)
        self.assertEqual(link.tick(later + TIMERS.lost - 0.001, True), [])
        self.assertIn(f"no link for 1 s after: {link.trouble}", link.tick(later + TIMERS.lost, True)[0].reason)  # type: ignore[union-attr]

    def test_moves_however_short_it_was_up(self):
        link = carried(since=NOW)
        self.assertEqual(link.moved(NOW, AWAY), [Drop(WAY), Connect(2)])

    def test_another_proxy_has_the_time_that_is_left(self):
        link = asking()
        link.connected(NOW + 1, OTHER_WAY)
        self.assertIn(Drop(OTHER_WAY), link.tick(NOW + TIMERS.hello, False))

    def test_pings_while_its_peer_stops(self):
        link = left_behind_a_proxy()
        pings = sum(link.tick(NOW + turn / 10, True) == [SayPing(None)] for turn in range(50))
        self.assertEqual(pings, 10)


class OpeningTests(SynchronousTestCase):
    def test_a_slow_welcome_has_hello_repeated_at_most_three_times(self):
        link = connecting()
        answers = [link.welcome(NOW + 0.3 * turn, SERVER, 0.3) for turn in (1, 2, 3)]
        self.assertEqual(answers, [[SayHello()], [SayHello()], [Flush()]])

    def test_a_quick_welcome_after_a_slow_one_will_do(self):
        link = connecting()
        self.assertEqual(link.welcome(NOW, SERVER, 0.3), [SayHello()])
        self.assertEqual(link.welcome(NOW, SERVER, 0.01), [Flush()])

    def test_each_hello_has_its_own_time(self):
        # Three round trips of 0.9 s take longer than one HELLO may; a peer that answers is not given up for that.
        link = connecting()
        for turn in (1, 2):
            self.assertEqual(link.welcome(NOW + 0.9 * turn, SERVER, 0.9), [SayHello()])
        self.assertEqual(link.tick(NOW + 2.5, False), [])
        self.assertEqual(link.welcome(NOW + 2.7, SERVER, 0.9), [Flush()])

    def test_the_second_failure_in_a_row_doubts_the_record(self):
        link = resolving()
        doubts, now = [], NOW
        for _ in range(4):
            doubts.append(Doubt("refused") in link.lost(now, "refused"))
            now = link.wake_at
            link.tick(now, False)
        self.assertEqual(doubts, [False, True, False, False])

    def test_another_instance_is_doubted_once_each_time(self):
        link = resolving()
        now = NOW
        for _ in range(3):
            link.connected(now, b"x")
            effects = link.welcome(now, OTHER, 0.001)
            self.assertEqual([effect for effect in effects if type(effect) is Doubt], [Doubt(ANOTHER)])
            now = link.wake_at
            link.tick(now, False)

    def test_a_record_without_an_instance_learns_it(self):
        link = connecting(None)
        self.assertEqual(link.welcome(NOW, SERVER, 0.001), [Flush()])
        self.assertEqual(link.instance, SERVER)

    def test_a_record_without_an_instance_takes_its_successor(self):
        link = up(None)
        link.lost(NOW, "reset")
        link.connected(NOW, b"2")
        self.assertEqual(link.welcome(NOW, OTHER, 0.5), [Lose(ANOTHER), SayHello()])
        self.assertEqual(link.welcome(NOW, OTHER, 0.001), [Flush()])
        self.assertEqual(link.instance, OTHER)

    def test_a_misfit_is_not_learned(self):
        link = connecting(None)
        self.assertEqual(misfit()(link), [Drop(b"1"), Reroute(MISFIT), Doubt(MISFIT)])
        self.assertEqual((link.instance, link.trouble), (None, MISFIT))
        link.tick(NOW + 1, False)
        link.connected(NOW + 1, b"2")
        self.assertEqual(link.welcome(NOW + 1, OTHER, 0.001), [Flush()])
        self.assertEqual((link.instance, link.trouble), (OTHER, ""))

    def test_a_successor_that_does_not_fit_is_not_followed(self):
        link = up(None)
        link.lost(NOW, "reset")
        link.connected(NOW, b"2")
        self.assertEqual(misfit(OTHER)(link), [Drop(b"2"), Lose(STRANGER), Reroute(STRANGER), Doubt(STRANGER)])
        self.assertEqual((link.instance, link.phase), (SERVER, BACKOFF))

    def test_a_misfit_is_asked_again_ever_less_often(self):
        link = connecting()
        now, waits = NOW, []
        for _ in range(3):
            link.welcome(now, SERVER, 0.001, "it is a 'client'")
            waits.append(round(link.wake_at - now, 3))
            now = link.wake_at
            link.tick(now, False)
            link.connected(now, b"x")
        self.assertEqual(waits, [0.2, 0.4, 0.8])

    def test_a_successor_long_after_the_loss_has_nothing_to_lose(self):
        link = up(None)
        link.lost(NOW, "reset")
        link.tick(NOW + 1, True)
        link.connected(NOW + 1, b"2")
        self.assertEqual(link.welcome(NOW + 1, OTHER, 0.001), [Flush()])


class BackOffTests(SynchronousTestCase):
    def waits(self, jitter: float, failures: int) -> list[float]:
        link = LinkState(SERVER, lambda: jitter, TIMERS)
        link.wanted(NOW)
        now, waits = NOW, []
        for _ in range(failures):
            link.lost(now, "refused")
            waits.append(link.wake_at - now)
            now = link.wake_at
            link.tick(now, False)
        return waits

    def test_grows_to_its_longest(self):
        waits = self.waits(1.0, 60)
        for wait, expected in zip(waits, [0.2, 0.4, 0.8, *[1.0] * 5, 6.4 / 6, 6.4 * 7 / 36], strict=False):
            self.assertAlmostEqual(wait, expected)
        self.assertEqual((sorted(waits), waits[-1]), (waits, TIMERS.longest_backoff))

    def test_what_was_away_for_seconds_is_found_soon(self):
        """A storm of resets, say, that takes six seconds: the next try is within one, and there were twenty at most."""
        waits = self.waits(1.0, 60)
        tries = next(number for number in range(60) if sum(waits[:number]) > 6)
        self.assertLess(tries, 20)
        self.assertLessEqual(waits[tries - 1], TIMERS.brief_backoff)

    def test_what_is_dead_is_not_hammered(self):
        """In the first hour there are no more tries than if each were ten seconds after the one before, but for 30."""
        waits = self.waits(1.0, 1200)
        self.assertLess(next(number for number in range(1200) if sum(waits[:number]) > 3600), 390)

    def test_jitter_halves_it_at_most(self):
        for wait, longest in zip(self.waits(0.5, 8), self.waits(1.0, 8), strict=True):
            self.assertAlmostEqual(wait, longest / 2)

    def test_never_overflows(self):
        self.assertAlmostEqual(self.waits(1.0, 1200)[-1], TIMERS.longest_backoff)

    def test_starts_anew_after_the_link_was_up(self):
        link = up()
        link.lost(NOW, "reset")
        link.lost(NOW, "refused")
        self.assertAlmostEqual(link.wake_at - NOW, 0.2)

    def test_a_peer_that_welcomes_and_leaves_is_not_hammered(self):
        link = idle()
        connects, now = len(link.wanted(NOW)), NOW
        while now < NOW + 1 and connects < 1000:
            if link.phase is CONNECTING:
                link.connected(now, b"x")
                link.welcome(now, SERVER, 0.001)
                effects = link.lost(now, "closed")
            else:
                now = max(now, link.wake_at)
                effects = link.tick(now, False)
            connects += sum(type(effect) is Connect for effect in effects)
        self.assertLess(connects, 25)


class LivenessTests(SynchronousTestCase):
    """PINGs on a link that is up, and what their absence of answers means."""

    def fresh(self) -> LinkState:
        link = connecting()
        link.welcome(NOW, SERVER, 0.001)
        return link

    def test_use_elsewhere_than_up_only_counts(self):
        link = connecting()
        link.liveness.used(NOW)
        self.assertEqual(link.wake_at, NOW + TIMERS.late)
        link.tick(NOW + TIMERS.late, False)
        self.assertEqual(link.wake_at, NOW + TIMERS.hello)

    def test_a_ping_tells_the_round_trip_of_the_one_before(self):
        link = self.fresh()
        self.assertEqual(link.tick(NOW + 0.5, False), [SayPing(None)])
        link.ponged(NOW + 0.75, int((NOW + 0.5) * 1000))
        self.assertEqual(link.tick(NOW + 1, False), [SayPing(250)])
        # Unanswered, it is repeated: it or its answer may be lost.
        self.assertEqual(link.tick(NOW + 1.5, False), [SayPing(None)])
        link.ponged(NOW + 1.75, int((NOW + 1) * 1000))
        self.assertEqual(link.tick(NOW + 2, False), [SayPing(750)])

    def test_long_silence_is_no_evidence(self):
        link = self.fresh()
        link.tick(NOW + 0.5, True)
        for after, evidence in (
            (1.5, Evidence.ALIVE),
            (2.0, Evidence.UNSURE),
            (10.0, Evidence.UNSURE),
            (10.5, Evidence.NONE),
        ):
            tick_until(link, NOW + after)
            self.assertEqual(link.evidence, evidence, f"{after} s")
        link.liveness.mute = False
        self.assertEqual(link.evidence, Evidence.ALIVE)

    def test_only_a_link_that_is_up_is_mute(self):
        for change in (withdraw, go_away, lose):
            link = mute()
            self.assertTrue(link.mute)
            change(link)
            self.assertFalse(link.mute, change.__name__)


class DrainTests(SynchronousTestCase):
    def test_ends_as_soon_as_nothing_is_outstanding(self):
        link = withdrawn()
        self.assertEqual(link.wake_at, NOW)
        link.tick(NOW, True)
        self.assertEqual(link.wake_at, NOW + TIMERS.ping)
        self.assertEqual(link.tick(NOW + 1, False), [Drop(b"1")])

    def test_a_peer_that_stops_and_is_silent_is_never_mute(self):
        """Nothing new goes there anyway; how long calls wait for it is counted all the same."""
        link = leaving()
        for after in range(1, 11):
            link.tick(NOW + after / 2, True)
            self.assertFalse(link.mute)
        self.assertEqual(link.liveness.silence(NOW + 5), 5.0)

    def test_only_who_has_said_so_is_stopping(self):
        self.assertFalse(up().stopping)
        self.assertFalse(withdrawn().stopping)
        link = leaving()
        self.assertTrue(link.stopping)
        link.withdrawn(NOW, "gone")
        self.assertTrue(link.stopping)
        link.lost(NOW + 5, "closed")
        self.assertFalse(link.stopping)

    def test_repeated_goaway_does_not_prolong_it(self):
        link = leaving()
        for second in range(1, 35):
            link.going_away(NOW + second, "stopping")
            link.tick(NOW + second, True)
        self.assertIn(Drop(b"1"), link.tick(NOW + 35, False))

    def test_goaway_of_a_withdrawn_one_does_not_prolong_it(self):
        link = withdrawn()
        link.going_away(NOW + 30, "stopping")
        self.assertIn(Drop(b"1"), link.tick(NOW + 35, False))

    def test_after_goaway_a_record_that_stays_is_tried_again(self):
        link = leaving()
        link.tick(NOW + TIMERS.drain, False)
        self.assertEqual(link.tick(link.wake_at, False), [Connect(2)])

    def test_a_record_that_came_back_is_pinged_at_once(self):
        link = withdrawn()
        link.wanted(NOW)
        self.assertEqual(link.wake_at, NOW)
        self.assertEqual(link.tick(NOW, False), [SayPing(None)])


class Shell:
    """Performs the effects of one link as the real shell does, on a network that does what a test tells it."""

    def __init__(self, jitter: float) -> None:
        self.now = NOW
        self.link = LinkState(SERVER, lambda: jitter, TIMERS)
        self.identities = count(1)
        self.used_identities: set[bytes] = set()
        self.connection = False
        self.waits_for_identity = False
        self.outstanding = False
        self.lost_at: float | None = None

    def perform(self, effects: list[Effect]) -> None:
        link = self.link
        for effect in effects:
            match effect:
                case Connect(attempt):
                    assert not self.connection, "Connect twice without a Drop between"
                    assert attempt == next(self.identities), "an attempt was used twice"
                    self.connection = self.waits_for_identity = True
                case Drop(identity):
                    assert self.connection, "Drop without a connection"
                    assert (identity is None) is self.waits_for_identity
                    self.connection = self.waits_for_identity = False
                case SayHello():
                    assert link.phase is CONNECTING
                case Flush():
                    assert link.phase is UP
                    self.lost_at = None
                case SayPing():
                    assert link.phase is UP or (link.phase is DRAINING and self.outstanding)
                case SayGoodbye():
                    assert link.phase is LEAVING
                case Lose():
                    self.outstanding = False
                    self.lost_at = None
        self.check()

    def check(self) -> None:
        link = self.link
        assert self.connection is (link.phase in (CONNECTING, UP, DRAINING, LEAVING))
        assert (link.identity is not None) is (self.connection and not self.waits_for_identity)
        assert (link.wake_at == NEVER) is (link.phase is IDLE), "a state without its timer, or idle with one"
        assert not link.mute or link.phase is UP
        assert link.evidence is Evidence.NONE or link.recorded
        if self.outstanding and link.phase not in (UP, DRAINING):
            assert self.lost_at is not None, "what was handed over is forgotten"

    def connected(self) -> None:
        if self.waits_for_identity:
            self.waits_for_identity = False
            identity = b"id %d" % len(self.used_identities)
            assert identity not in self.used_identities
            self.used_identities.add(identity)
            self.perform(self.link.connected(self.now, identity))

    def lost(self) -> None:
        if self.connection:
            if self.outstanding and self.link.phase in (UP, DRAINING):
                self.lost_at = self.now
            self.perform(self.link.lost(self.now, "reset", self.outstanding))

    def give_up(self) -> None:
        """As the shell does, when calls wait for a peer that is silent."""
        if self.outstanding and self.link.phase in (UP, DRAINING):
            self.lost_at = self.now
            self.perform(self.link.given_up(self.now))
            assert not self.link.available

    def open(self) -> None:
        self.wanted()
        self.connected()
        self.welcome(SERVER, 0.001)

    def welcome(self, instance: bytes, round_trip: float, misfit: str = "") -> None:
        if self.connection and not self.waits_for_identity:
            self.link.liveness.heard_at = self.now
            self.perform(self.link.welcome(self.now, instance, round_trip, misfit))

    def go_away(self) -> None:
        if self.connection and not self.waits_for_identity:
            self.perform(self.link.going_away(self.now, "stopping"))

    def hand_over(self) -> None:
        if self.link.phase is UP:
            self.outstanding = True
            self.link.liveness.used(self.now)
            self.check()

    def answer(self) -> None:
        if self.link.phase in (UP, DRAINING):
            self.outstanding = False
            self.link.liveness.heard_at = self.now
            self.link.liveness.mute = False

    def pong(self) -> None:
        if self.connection and not self.waits_for_identity:
            self.link.liveness.heard_at = self.now
            self.link.ponged(self.now, 1)

    def last_pong(self) -> None:
        if self.connection and not self.waits_for_identity:
            self.link.liveness.heard_at = self.now
            self.link.ponged(self.now, LAST_TOKEN)

    def release(self) -> None:
        if self.outstanding:
            self.link.kept = False
        else:
            self.perform(self.link.released(self.now))

    def withdrawn(self) -> None:
        self.perform(self.link.withdrawn(self.now, "gone"))

    def wanted(self) -> None:
        self.perform(self.link.wanted(self.now))

    def tick(self) -> None:
        """Tick until nothing more is due now; that must come to an end."""
        for _ in range(4):
            self.perform(self.link.tick(self.now, self.outstanding))
            if self.link.wake_at > self.now:
                break
        else:
            raise AssertionError(f"{self.link.phase} wants to be woken again and again at {self.link.wake_at}")
        lost_at = self.lost_at
        assert lost_at is None or self.now < lost_at + TIMERS.lost, "the link is lost, and so are its calls"

    def late(self, seconds: float) -> None:
        """Let time pass unseen: our own reactor is blocked."""
        self.now += seconds
        self.tick()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in going_on(lambda: self.link.wake_at <= end):
            self.now = max(self.now, self.link.wake_at)
            self.tick()
        self.now = end

    def recover(self) -> None:
        """Let the peer be well from now on; the link must come up by its own timers."""
        self.wanted()
        give_up = self.now + TIMERS.drain + TIMERS.longest_backoff + TIMERS.hello
        for _ in going_on(lambda: self.link.phase is not UP):
            assert self.now < give_up, f"still {self.link.phase}"
            self.connected()
            if self.link.phase is CONNECTING:
                self.welcome(SERVER, 0.001)
            elif self.link.phase is IDLE:
                self.wanted()
            else:
                self.now = max(self.now, self.link.wake_at)
                self.tick()


EVENTS = st.one_of(
    st.sampled_from(
        (
            *("connected", "lost", "go_away", "hand_over", "answer", "pong", "withdrawn", "wanted"),
            *("release", "last_pong", "give_up", "open", "open"),
        )
    ).map(lambda name: (name,)),
    st.tuples(
        st.just("welcome"),
        st.sampled_from((SERVER, SERVER, SERVER, OTHER)),
        st.sampled_from((0.001, 0.5)),
        st.sampled_from(("", "", "", "it is a 'client'")),
    ),
    st.tuples(st.sampled_from(("pass_time", "late")), st.sampled_from((0.0, 0.05, 0.3, 1.0, 1.7, 6.0, 40.0))),
)


class AnyOrderTests(SynchronousTestCase):
    """Whatever happens in whatever order: `Shell` asserts what must hold after each event."""

    @settings(derandomize=True, max_examples=400)
    @given(st.floats(0.5, 1), st.lists(EVENTS, max_size=60))
    def test_no_order_of_events_breaks_it(self, jitter, events):
        shell = Shell(jitter)
        for name, *arguments in events:
            getattr(shell, name)(*arguments)
        shell.recover()
