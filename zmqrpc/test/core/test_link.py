"""The state machine of one link: plain calls in, effects out; no reactor, no clock."""

from __future__ import annotations

from collections.abc import Callable

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
from zmqrpc.core.link_timers import BEAT_SECONDS, GONE_SECONDS, GONE_THROUGH_SECONDS, LinkTimers, through_proxies
from zmqrpc.test.core.link_states import (
    ANOTHER,
    AWAY,
    BACKOFF,
    CONNECTING,
    DRAINING,
    GONE,
    GONE_SILENT,
    IDLE,
    LEAVING,
    MISFIT,
    NOW,
    OTHER,
    OTHER_WAY,
    SERVER,
    SILENCE,
    STRANGER,
    TIMERS,
    UNWELCOME,
    UP,
    WAY,
    asking,
    backing_off,
    carried,
    connect,
    connecting,
    connecting_again,
    give_up,
    given_up,
    go_away,
    held,
    idle,
    just_used,
    leaving,
    leaving_behind_a_proxy,
    left,
    left_behind_a_proxy,
    long_unheard,
    lose,
    lose_nothing,
    lost,
    marooned,
    misfit,
    move,
    mute,
    needed,
    parted,
    parting,
    parting_both,
    pong,
    reconnecting,
    release,
    resolving,
    shaky,
    stranded,
    tick,
    told_to_go,
    unneeded,
    up,
    uprooted,
    uprooted_and_withdrawn,
    used,
    wanted,
    welcome,
    withdraw,
    withdrawn,
)

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
    def test_a_server_gives_up_its_client_no_sooner_than_that_gives_up_the_server(self):
        """Directly after two BEATs, and through proxies after three seconds (docs/spec/wire)."""
        self.assertEqual((LinkTimers().lost, GONE_SECONDS), (2 * BEAT_SECONDS, 2 * BEAT_SECONDS))
        self.assertEqual((through_proxies(LinkTimers()).lost, GONE_THROUGH_SECONDS), (2.5, 3.0))

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
        self.assertEqual(waits, [0.2, 0.4, 0.7])

    def test_a_successor_long_after_the_loss_has_nothing_to_lose(self):
        link = up(None)
        link.lost(NOW, "reset")
        link.tick(NOW + 1, True)
        link.connected(NOW + 1, b"2")
        self.assertEqual(link.welcome(NOW + 1, OTHER, 0.001), [Flush()])


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

    def test_how_it_stands_in_one_word(self):
        for make, standing in (
            (idle, "idle"),
            (up, "up"),
            (mute, "mute"),
            (leaving, "stopping"),
            (left, "stopping"),
            (withdrawn, "draining"),
            (parting_both, "leaving"),
            (backing_off, "backing off"),
        ):
            self.assertEqual(make().standing, standing, make.__name__)

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
