"""Publishers, local publishers and subscriptions over a network in memory: what is published arrives, or is counted."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from zmqrpc.configuration import FOR_PROXIES, FOR_SERVICES, load
from zmqrpc.core.keys import token_key, topic_key
from zmqrpc.core.outage import AGAIN_SECONDS
from zmqrpc.core.subscription import SubscriptionPhase
from zmqrpc.errors import PortRangeExhausted
from zmqrpc.interfaces import IProxy, IProxyFactory, IPublisherReceiver, ISubscriberReceiver
from zmqrpc.proxy.local_publisher import factory
from zmqrpc.record import Role
from zmqrpc.test.logs import LogLines
from zmqrpc.test.processes import CHECKOUT
from zmqrpc.test.publishing import KEY, OTHER_KEY, Listening, central, ground, listen, local, sighting
from zmqrpc.testing import Network


class PublishingCase(SynchronousTestCase):
    def setUp(self):
        self.network = Network(seed=3)
        self.lines = LogLines(self)

    def confirmed(self, *listening: Listening) -> None:
        self.network.run_until(lambda: all(each.subscription.state.current for each in listening), most=20)

    def run_for(self, seconds: float) -> None:
        self.network.run(seconds)


class PublisherTests(PublishingCase):
    def test_interfaces(self):
        _, publisher = central(self.network, "one")
        self.assertTrue(verifyObject(IPublisherReceiver, publisher))
        self.assertTrue(verifyObject(ISubscriberReceiver, listen(self.network, "a", publisher.address).subscription))

    def test_published(self):
        """What is published after the confirmation arrives; nothing of another topic does."""
        _, publisher = central(self.network, "one")
        self.assertEqual(publisher.address, "tcp://one:50003")
        self.assertIsNone(publisher.publish(KEY, b"nobody"))
        first, second = (listen(self.network, host, publisher.address) for host in ("a", "b"))
        self.confirmed(first, second)
        for number in range(100):
            self.assertIsNotNone(publisher.publish(KEY, b"%d" % number))
            self.assertIsNone(publisher.publish(OTHER_KEY, b"%d" % number))
        self.run_for(0.1)
        for listening in (first, second):
            self.assertEqual(listening.messages, [(KEY, b"%d" % number) for number in range(100)])
            self.assertEqual((sum(listening.tally.missed.values()), listening.tally.faults), (0, []))

    def test_before_the_confirmation_the_count_begins(self):
        _, publisher = central(self.network, "one")
        first = listen(self.network, "a", publisher.address)
        self.confirmed(first)
        for _ in range(7):
            publisher.publish(KEY, b"")
        second = listen(self.network, "b", publisher.address)
        self.confirmed(second)
        self.assertEqual(list(second.tally.base.values()), [7])

    def test_idle(self):
        """Each second a counter; so nobody who is idle is taken for dead."""
        _, publisher = central(self.network, "one")
        listening = listen(self.network, "a", publisher.address)
        self.confirmed(listening)
        self.run_for(60)
        self.assertEqual((listening.losses, listening.tally.faults), ([], []))

    def test_refused_filters(self):
        """Who subscribes to everything, or to a part of a filter, gets nothing; who has subscribed before goes on."""
        site, publisher = central(self.network, "one")
        local_site, near = local(self.network, "near", subscribe_on=("one:50003",))
        listening = [listen(self.network, host, each.address) for host, each in (("a", publisher), ("b", near))]
        self.confirmed(*listening)
        for where, refuser in ((site, publisher), (local_site, near)):
            for number, filter in enumerate((b"", b"T", KEY[:-1], b"x" * 2000)):
                stranger = listen(self.network, f"stranger{number}", refuser.address, KEY, filter)
                self.run_for(0.3)
                publisher.publish(KEY, b"%d" % number)
                self.run_for(0.3)
                self.assertEqual((stranger.messages, stranger.confirmations), ([], 0))
                self.assertEqual(set(stranger.losses), {"the connection ended"})
                self.assertEqual(where.notices.counts["subscription_refused"], len(stranger.losses))
                self.assertEqual(
                    len(
                        self.lines.about(
                            f"was refused and its connection ended: its filter of {len(filter)} bytes is neither"
                        )
                    ),
                    1,
                )
                stranger.site.kill()
                where.notices.counts.clear()
                self.lines.clear()
        for each in listening:
            self.assertEqual([payload for _, payload in each.messages], [b"0", b"1", b"2", b"3"] * 2)
            self.assertEqual((each.losses, each.tally.faults), ([], []))
        self.assertIsNone(publisher.publish(OTHER_KEY, b"for nobody"))

    def test_stranger(self):
        """What is no subscriber is told of by the address it comes from."""
        site, publisher = central(self.network, "one")
        near, local_publisher = local(self.network, "near", subscribe_on=("one:50003",))
        for where, address in ((site, publisher.address), (near, local_publisher.address)):
            self.network.knock("scanner", address)
            self.run_for(0.1)
            self.assertEqual(where.notices.counts["handshake_failed"], 1)
        self.assertEqual(len(self.lines.about("a connection from 10.0.0.")), 2)

    def test_too_many_filters(self):
        """Those who are there lose nothing, idle for however long; who comes then waits until another has left."""
        keys = [topic_key("x", str(number)) for number in range(12)]
        site, publisher = central(self.network, "one", max_filters=10)
        there = [listen(self.network, f"host{number}", publisher.address, keys[number]) for number in range(10)]
        self.confirmed(*there)
        late = [listen(self.network, f"late{number}", publisher.address, keys[10 + number]) for number in range(2)]
        # Longer than a publisher may be silent about a filter.
        self.run_for(12)
        self.assertEqual([each.losses for each in there], [[]] * 10)
        self.assertIsNone(publisher.publish(keys[10], b""))
        for key in keys[:10]:
            self.assertIsNotNone(publisher.publish(key, b""))
        self.run_for(1)
        self.assertEqual([each.messages for each in there], [[(key, b"")] for key in keys[:10]])
        # They hear nothing, and connect anew.
        attempts = sum(1 + len(each.losses) for each in late)
        self.assertEqual(site.notices.counts["subscription_refused"], attempts)
        self.assertTrue(
            self.lines.about("a subscription to x/10 was refused: it is one too many, 10 may be subscribed to")
        )
        for each in there[:2]:
            each.site.kill()
        self.run_for(5)
        for key in keys[10:]:
            self.assertIsNotNone(publisher.publish(key, b""))
        self.run_for(1)
        self.assertEqual([each.messages for each in late], [[(key, b"")] for key in keys[10:]])
        self.assertEqual([each.tally.faults for each in (*there, *late)], [[]] * 12)

    def test_far_too_many_filters(self):
        """A connection that brings more than are taken and are let be is ended, and leaves room."""
        keys = [topic_key("x", str(number)) for number in range(30)]
        site, publisher = central(self.network, "one", max_filters=10)
        near_site, near = local(self.network, "near", max_filters=10)
        for where, address in ((site, publisher.address), (near_site, near.address)):
            stranger = listen(self.network, f"of-{where.host}", address, *keys)
            self.run_for(5)
            self.assertEqual(set(stranger.losses), {"the connection ended"})
            self.assertGreater(where.notices.counts["subscription_refused"], 10)
            stranger.site.kill()
            self.run_for(1)
            other = listen(self.network, f"at-{where.host}", address)
            if where is site:
                self.confirmed(other)
                self.assertIsNotNone(publisher.publish(KEY, b""))
            self.run_for(1)
            self.assertEqual(other.losses, [])
        self.assertTrue(self.lines.about("was refused and its connection ended: its filter of 6 bytes is one too many"))

    def test_too_many_tokens(self):
        """A connection that takes none of them back is ended; others are answered."""
        site, publisher = central(self.network, "one")
        near_site, near = local(self.network, "near", subscribe_on=("one:50003",))
        for where, address in ((site, publisher.address), (near_site, near.address)):
            stranger = listen(self.network, f"of-{where.host}", address)
            self.confirmed(stranger)
            socket: Any = stranger.subscription._socket
            for number in range(1000):
                socket.subscribe(token_key(b"%016d" % number))
            self.run_for(0.1)
            self.assertEqual(stranger.losses, ["the connection ended"])
            self.assertTrue(self.lines.about("is one token too many"))
            self.lines.clear()
            self.assertTrue(where.notices.counts["subscription_refused"])
            self.confirmed(stranger, listen(self.network, f"at-{where.host}", address))

    def test_port_is_taken(self):
        central(self.network, "one")
        with self.assertRaises(PortRangeExhausted):
            central(self.network, "one")

    def test_closed(self):
        site, publisher = central(self.network, "one")
        listening = listen(self.network, "a", publisher.address)
        self.confirmed(listening)
        self.network.result_of(site.stop())
        self.assertIsNone(publisher.publish(KEY, b""))
        self.run_for(3)
        self.assertIn("the connection ended", listening.losses)
        self.assertIn("connection refused", listening.losses)


class SubscriptionTests(PublishingCase):
    def test_publisher_that_comes_later(self):
        """It is found in less than two seconds."""
        self.network.add_host("one")
        listening = listen(self.network, "a", "tcp://one:50003")
        self.run_for(60)
        self.assertIn("connection refused", listening.losses)
        central(self.network, "one")
        self.run_for(2)
        self.assertTrue(listening.subscription.state.current)

    def test_host_that_cannot_be_resolved(self):
        listening = listen(self.network, "a", "tcp://one:50003")
        self.run_for(1)
        self.assertIn("the host name one cannot be resolved", listening.losses[0])
        self.network.add_host("one")
        central(self.network, "one")
        self.run_for(2)
        self.assertTrue(listening.subscription.state.current)

    def test_address_that_is_none(self):
        listening = listen(self.network, "a", "nonsense")
        self.run_for(5)
        self.assertIn("cannot connect to nonsense", listening.losses[0])
        self.assertLess(len(listening.losses), 10)

    def test_closed_while_it_resolves(self):
        _, publisher = central(self.network, "one")
        listening = listen(self.network, "a", publisher.address)
        listening.subscription.close()
        self.run_for(5)
        self.assertEqual((listening.losses, listening.confirmations), ([], 0))
        listening.subscription.open()
        self.confirmed(listening)

    def test_cut_off(self):
        """What was missed meanwhile is counted, to the message, though nothing else told that it was cut off."""
        _, publisher = central(self.network, "one")
        listening, other = (listen(self.network, host, publisher.address) for host in ("a", "b"))
        self.confirmed(listening, other)
        sent = 0
        for seconds in (0.5, 2.0, 5.0, 30.0):
            self.network.cut("one", "a")
            for _ in range(100):
                publisher.publish(KEY, b"%d" % sent)
                sent += 1
                self.run_for(seconds / 100)
            self.network.heal()
            self.run_for(5)
            self.assertTrue(listening.subscription.state.current)
            (about,) = listening.tally.seen
            self.assertEqual(listening.tally.seen[about], sent)
            self.assertEqual(listening.tally.missed[about], sent - len(listening.messages))
        self.assertGreater(sent, len(listening.messages))
        self.assertEqual(len(other.messages), sent)

    def test_only_subscriber_cut_off(self):
        """The count of a filter that nobody seems to subscribe to any more is kept for who comes back."""
        _, publisher = central(self.network, "one")
        listening = listen(self.network, "a", publisher.address)
        self.confirmed(listening)
        self.network.cut("one", "a")
        sent = 0
        while publisher.publish(KEY, b"") is not None:
            sent += 1
            self.run_for(0.01)
        self.assertGreater(sent, 100)
        self.network.heal()
        self.run_for(5)
        self.assertEqual(list(listening.tally.missed.values()), [sent])

    def test_restarted_publisher(self):
        site, publisher = central(self.network, "one")
        listening = listen(self.network, "a", publisher.address)
        self.confirmed(listening)
        publisher.publish(KEY, b"before")
        self.run_for(0.1)
        site.kill()
        self.run_for(1)
        _, publisher = central(self.network, "one")
        self.run_for(2)
        publisher.publish(KEY, b"after")
        self.run_for(0.1)
        self.assertEqual([payload for _, payload in listening.messages], [b"before", b"after"])
        self.assertEqual((len(listening.tally.seen), listening.tally.faults), (2, []))

    def test_malformed(self):
        _, publisher = central(self.network, "one")
        listening = listen(self.network, "a", publisher.address, KEY)
        self.confirmed(listening)
        socket: Any = publisher._socket
        for frames in ((KEY,), (KEY, b"", b"", b"")):
            socket.publish(*frames)
        self.run_for(0.1)
        token = token_key(b"x" * 16)
        for payload in (b"", None):
            listening.subscription.published_received(token, b"", payload)
        self.assertEqual(len(listening.malformed_reasons), 3)


class LocalPublisherTests(PublishingCase):
    def test_interfaces(self):
        self.assertTrue(verifyObject(IProxyFactory, factory))
        self.assertEqual(factory.name, "local-publisher")
        proxy = factory.make(ground(self.network, "node"))
        self.assertTrue(verifyObject(IProxy, proxy))
        self.assertEqual((proxy.records(), proxy.drained), ((), True))
        proxy.drain("it stops")
        proxy.close(0)

    def make(self, **options: Any) -> tuple[Any, Any, Any]:
        """Start a central publisher, a local one that knows it, and a subscriber there."""
        site, publisher = central(self.network, "one")
        _, near = local(self.network, "node", **options)
        near.found([sighting(site, publisher.address)])
        listening = listen(self.network, "node", near.address)
        return publisher, near, listening

    def test_handed_on(self):
        publisher, _, listening = self.make()
        self.confirmed(listening)
        counters = [publisher.publish(KEY, b"%d" % number) for number in range(10)]
        self.run_for(0.1)
        self.assertEqual(listening.messages, [(KEY, b"%d" % number) for number in range(10)])
        self.assertNotIn(None, counters)
        self.assertEqual(sum(listening.tally.missed.values()), 0)
        self.run_for(30)
        self.assertEqual((listening.losses, listening.tally.faults), ([], []))

    def test_only_what_somebody_wants(self):
        publisher, _, listening = self.make()
        self.confirmed(listening)
        self.assertIsNone(publisher.publish(OTHER_KEY, b""))
        listening.subscription.subscribe([OTHER_KEY])
        self.confirmed(listening)
        self.assertIsNotNone(publisher.publish(OTHER_KEY, b""))
        listening.subscription.unsubscribe([OTHER_KEY])
        self.run_for(0.1)
        self.assertIsNone(publisher.publish(OTHER_KEY, b""))
        self.assertIsNotNone(publisher.publish(KEY, b""))

    def test_one_connection_for_all(self):
        publisher, near, listening = self.make()
        others = [listen(self.network, "node", near.address) for _ in range(20)]
        self.confirmed(listening, *others)
        self.assertEqual(len(publisher._socket._filters), 1)
        publisher.publish(KEY, b"to all")
        self.run_for(0.1)
        for each in (listening, *others):
            self.assertEqual(each.messages, [(KEY, b"to all")])

    def test_who_comes_later_counts_from_there(self):
        publisher, near, listening = self.make()
        self.confirmed(listening)
        for _ in range(5):
            publisher.publish(KEY, b"")
        self.run_for(0.01)
        later = listen(self.network, "node", near.address)
        self.confirmed(later)
        self.assertEqual(list(later.tally.base.values()), [5])

    def test_not_confirmed_before_the_publishers_have(self):
        """All that are connected, of which there is one."""
        _, near = local(self.network, "node")
        listening = listen(self.network, "node", near.address)
        self.run_for(2)
        self.assertEqual(listening.confirmations, 0)
        first, at_first = central(self.network, "one")
        second, at_second = central(self.network, "two")
        near.found([sighting(first, at_first.address), sighting(second, at_second.address)])
        self.run_for(0.002)
        self.assertEqual(listening.confirmations, 0)
        self.confirmed(listening)
        for publisher in (at_first, at_second):
            self.assertIsNotNone(publisher.publish(KEY, b""))
        self.run_for(0.1)
        self.assertEqual(len(listening.messages), 2)

    def test_mute_publisher_holds_up_nobody_for_long(self):
        first, at_first = central(self.network, "one")
        second, at_second = central(self.network, "two")
        _, near = local(self.network, "node")
        near.found([sighting(first, at_first.address), sighting(second, at_second.address)])
        self.run_for(1)
        # It reads nothing and says nothing, and its kernel goes on to acknowledge.
        second.clock.stop()
        listening = listen(self.network, "node", near.address)
        self.network.run_until(lambda: listening.confirmations, most=4.5)

    def test_publisher_that_comes_later(self):
        publisher, near, listening = self.make()
        self.confirmed(listening)
        second, at_second = central(self.network, "two")
        near.found([sighting(second, at_second.address)])
        self.run_for(0.5)
        self.assertIsNotNone(at_second.publish(KEY, b"from the second"))
        # The first is not recorded any more, and is there.
        self.assertIsNotNone(publisher.publish(KEY, b"from the first"))
        self.run_for(0.1)
        self.assertEqual(len(listening.messages), 2)

    def test_outage(self):
        """It is said once that it began and once that it is over, and nobody is confirmed meanwhile."""
        site, publisher = central(self.network, "one")
        at_node, near = local(self.network, "node")
        near.found([sighting(site, publisher.address)])
        listening = listen(self.network, "node", near.address)
        self.confirmed(listening)
        site.kill()
        self.run_for(30)
        later = listen(self.network, "node", near.address)
        self.run_for(30)
        self.assertEqual(later.confirmations, 0)
        self.assertEqual(len(self.lines.about("no publisher is connected")), 1)
        self.assertIn("tcp://one:50003, connection refused", self.lines.about("no publisher is connected")[0])
        self.assertEqual(len(self.lines.about("was lost")), 1)
        self.assertGreater(at_node.notices.counts["publisher_lost"], 10)
        central(self.network, "one")
        self.run_for(5)
        self.confirmed(listening, later)
        self.assertEqual(len(self.lines.about("is connected, after 6")), 1)

    def test_nobody_is_known(self):
        local(self.network, "node")
        self.run_for(60)
        self.assertEqual(len(self.lines.about("confirmed: the matchmaker knows none")), 1)

    def test_said_again(self):
        """That there is none is said every five minutes, as servers say it, and no more when there is one."""
        _, near = local(self.network, "node")
        self.run_for(3 * AGAIN_SECONDS + 10)
        self.assertEqual(len(self.lines.about("no publisher is connected")), 4)
        site, publisher = central(self.network, "one")
        near.found([sighting(site, publisher.address)])
        self.run_for(3 * AGAIN_SECONDS)
        self.assertEqual(len(self.lines.about("no publisher is connected")), 4)

    def test_short_interruption_is_no_outage(self):
        _, _, listening = self.make()
        self.confirmed(listening)
        self.network.break_connections("node", "one")
        self.run_for(10)
        self.confirmed(listening)
        self.assertEqual(self.lines.about("no publisher is connected"), [])

    def test_forgotten_when_gone_and_not_recorded(self):
        site, publisher = central(self.network, "one")
        _, near = local(self.network, "node")
        near.found([sighting(site, publisher.address)])
        self.run_for(1)
        near.found([])
        self.run_for(60)
        self.assertEqual(len(self.lines.about("no longer subscribing")), 0)
        site.kill()
        self.run_for(5)
        self.assertEqual(len(self.lines.about("no longer subscribing")), 1)
        # What is left to do is to say again that there is none.
        self.assertEqual(near._subscriptions.wake_at, float("inf"))
        self.assertGreater(near.wake_at, self.network.clock.seconds() + AGAIN_SECONDS - 70)

    def test_not_to_itself_nor_to_routers(self):
        site, publisher = central(self.network, "one")
        at_node, near = local(self.network, "node")
        near.found([sighting(site, publisher.address, Role.ROUTER), sighting(at_node, near.address)])
        self.assertEqual(list(near._subscriptions), [])

    def test_subscribe_on(self):
        """It outranks the matchmaker, and may name several."""
        _, at_first = central(self.network, "one")
        _, at_second = central(self.network, "two")
        third, at_third = central(self.network, "three")
        _, near = local(self.network, "node", subscribe_on=("one:50003", "two:50003"))
        near.found([sighting(third, at_third.address)])
        listening = listen(self.network, "node", near.address)
        self.confirmed(listening)
        self.run_for(1)
        published = [each.publish(KEY, b"") is not None for each in (at_first, at_second, at_third)]
        self.assertEqual(published, [True, True, False])

    def test_subscribe_on_itself(self):
        """One file for the services of a node and its local publisher: it takes those the matchmaker knows."""
        for named in ("localhost:60001", "node:60001", "127.0.0.1:60001"):
            self.network = Network(seed=5)
            publisher, _, listening = self.make(subscribe_on=(named,))
            self.confirmed(listening)
            self.assertIsNotNone(publisher.publish(KEY, b""))
        self.assertEqual(len(self.lines.about("which is this local publisher itself")), 3)

    def test_subscribe_on_itself_by_another_name(self):
        self.network.add_host("node")
        numeric = self.network.address_of("node")
        publisher, _, listening = self.make(subscribe_on=(f"{numeric}:60001",))
        self.confirmed(listening)
        self.assertIsNotNone(publisher.publish(KEY, b"once"))
        self.run_for(1)
        self.assertEqual(listening.messages, [(KEY, b"once")])
        self.assertEqual(len(self.lines.about("leads to this local publisher itself")), 1)

    def test_one_publisher_under_two_addresses(self):
        _, publisher = central(self.network, "one")
        numeric = self.network.address_of("one")
        at_node, near = local(self.network, "node", subscribe_on=("one:50003", f"{numeric}:50003"))
        listening = listen(self.network, "node", near.address)
        self.confirmed(listening)
        self.run_for(1)
        for _ in range(10):
            publisher.publish(KEY, b"")
        self.run_for(0.1)
        self.assertEqual((len(listening.messages), listening.tally.faults), (10, []))
        self.assertGreater(at_node.notices.counts["published_twice"], 9)

    def test_local_publishers_in_a_ring(self):
        """What they were told not to be: nothing goes round for ever."""
        _, publisher = central(self.network, "one")
        ring = [
            local(self.network, here, subscribe_on=("one:50003", f"{there}:60001"))[1]
            for here, there in (("a", "b"), ("b", "a"))
        ]
        listening = [listen(self.network, host, near.address) for host, near in zip("ab", ring, strict=True)]
        self.run_for(20)
        for _ in range(10):
            publisher.publish(KEY, b"")
        self.run_for(20)
        for each in listening:
            self.assertEqual((len(each.messages), each.tally.faults), (10, []))

    def test_malformed(self):
        site, publisher = central(self.network, "one")
        at_node, near = local(self.network, "node")
        near.found([sighting(site, publisher.address)])
        listening = listen(self.network, "node", near.address)
        stranger = listen(self.network, "node", near.address, KEY, b"anything")
        self.run_for(1)
        stranger.site.kill()
        socket: Any = publisher._socket
        for frames in ((KEY,), (KEY, b"no counter", b""), (KEY, b"", b"", b"")):
            socket.publish(*frames)
        self.run_for(0.1)
        self.assertEqual(at_node.notices.counts["malformed"], 3)
        self.assertEqual(at_node.notices.counts["subscription_refused"], len(stranger.losses))
        self.assertGreater(len(stranger.losses), 0)
        self.assertEqual((listening.messages, listening.losses, stranger.messages), ([], [], []))

    def test_closed(self):
        site, publisher = central(self.network, "one")
        at_node, near = local(self.network, "node")
        near.found([sighting(site, publisher.address)])
        listening = listen(self.network, "node", near.address)
        self.confirmed(listening)
        self.network.result_of(at_node.stop())
        self.run_for(2)
        self.assertIn("the connection ended", listening.losses)
        self.assertIsNone(publisher.publish(KEY, b""))

    def test_port_is_taken(self):
        local(self.network, "node")
        with self.assertRaises(PortRangeExhausted):
            local(self.network, "node")


class PageTests(PublishingCase):
    """What docs/howto/pub-sub shows."""

    def test_file_of_a_local_publisher(self):
        path = CHECKOUT / "examples" / "systemd" / "zmq-local-publisher.conf"
        self.patch(os, "environ", {})
        loaded = load(config_files=[str(path)], service=FOR_PROXIES)
        settings = loaded.settings
        self.assertTrue(settings.proxy_local_publisher)
        self.assertEqual((settings.proxy_host, settings.rpc_zmq_bind_address), ("localhost", "127.0.0.1"))
        services = CHECKOUT / "docs" / "configurations" / "newer" / "local-publisher.services.conf"
        theirs = load(config_files=[str(services)], service=FOR_SERVICES).settings
        self.assertEqual(theirs.subscribe_on, (f"{settings.proxy_host}:{settings.proxy_publisher_port}",))
        page = (CHECKOUT / "docs" / "howto" / "pub-sub.rst").read_text()
        for name in ("subscription_refused", "publisher_lost", "published_twice"):
            self.assertIn(f"``{name}``", page)


class StormTests(PublishingCase):
    """Connections break, hosts are cut off, publishers die: each subscriber knows exactly what it has missed."""

    def test_everything_is_received_or_counted(self):
        for seed in range(8):
            with self.subTest(seed=seed):
                self.storm(seed)

    def storm(self, seed: int) -> None:
        self.network = network = Network(seed=seed)
        chance = Random(seed)
        publishers = {host: central(network, host) for host in ("one", "two", "three")}
        nodes = [local(network, host) for host in ("a", "b")]
        sightings = [sighting(site, publisher.address) for site, publisher in publishers.values()]
        for _, near in nodes:
            near.found(sightings)
        far = publishers["one"][1].address
        listening = [listen(network, f"{where}", near.address) for where, (_, near) in zip("ab" * 3, nodes * 3)]  # noqa: B905
        listening.append(listen(network, "c", far))
        self.confirmed(*listening)
        log: dict[bytes, list[bytes]] = {site.instance: [] for site, _ in publishers.values()}
        for number in range(1500):
            site, publisher = chance.choice(list(publishers.values()))
            if publisher.publish(KEY, b"%d" % number) is not None:
                log[site.instance].append(b"%d" % number)
            network.run(chance.choice((0, 0.001, 0.01)))
            fate = chance.random()
            if fate < 0.01:
                network.break_connections(chance.choice("abc"), chance.choice("abc"))
            elif fate < 0.02:
                network.break_connections(chance.choice("abc"), chance.choice(list(publishers)))
            elif fate < 0.03:
                network.cut(chance.choice(list(publishers)), chance.choice("abc"))
            elif fate < 0.06:
                network.heal()
            elif fate < 0.062:
                host = chance.choice(list(publishers))
                publishers[host][0].kill()
                publishers[host] = (site, publisher) = central(network, host)
                log[site.instance] = []
        network.heal()
        network.run(8)
        self.confirmed(*listening)
        network.run(2)
        alive = {site.instance for site, _ in publishers.values()}
        for each in listening:
            tally = each.tally
            self.assertEqual(tally.faults, [])
            for (instance, _), seen in tally.seen.items():
                there = seen - tally.base[instance, KEY]
                self.assertEqual(tally.received[instance, KEY] + tally.missed[instance, KEY], there)
                if instance in alive:
                    self.assertEqual(seen, len(log[instance]))
            self.assertEqual(len(set(each.messages)), len(each.messages))
            self.assertIs(each.subscription.state.phase, SubscriptionPhase.UP)
