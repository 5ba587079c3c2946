"""The matchmaker in several Redis servers that know nothing of each other, with real ones."""

from math import inf
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis import union
from zmqrpc.matchmaker._redis.names import record_field
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker.redis import redis_matchmaker
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.matchmaker.support import StoreCase
from zmqrpc.test.ports import free_port
from zmqrpc.test.servers import RedisPeer, RedisServer
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record

reactor: Any = _reactor

KEY = "zmqrpc:topic:openstack:compute"


class SeveralContract(MatchmakerContract, TestCase):
    """The contract, with three servers."""

    reactor = reactor
    shares_doubts = True

    def setUp(self):
        self.servers = [RedisServer(self) for _ in range(3)]

    def make_matchmaker(self):
        return redis_matchmaker(reactor, [place_of(server) for server in self.servers], 2.0, Random(1))

    def make_unreachable(self):
        return redis_matchmaker(reactor, [RedisPlace("127.0.0.1", free_port()) for _ in range(3)], 2.0, Random(1))

    async def lose_everything(self):
        for server in self.servers:
            server.kill()
        for server in self.servers:
            server.start()
        return True


def withdrawn_from_one(made):
    """Have a withdrawal have worked when the last server has done it, and it is said that the others have not."""
    withdraw = made.withdraw

    def not_everywhere(failure):
        failure.trap(MatchmakerUnavailable)
        if len(made.failing()) == 2 and str(failure.value) == "; ".join(made.failing()):
            return None
        return failure

    made.withdraw = lambda record: withdraw(record).addErrback(not_everywhere)
    return made


class TwoAwayContract(SeveralContract):
    """The contract, with three servers of which two are not there."""

    def make_matchmaker(self):
        return withdrawn_from_one(super().make_matchmaker())

    def setUp(self):
        super().setUp()
        # Which is then the only one that knows who is there; at once, for the test.
        self.patch(union, "TRUST_SECONDS", -60.0)
        for server in self.servers[:2]:
            server.kill()

    async def lose_everything(self):
        self.servers[2].restart()
        return True


def place_of(server, **fields):
    return RedisPlace("127.0.0.1", server.port, **fields)


class SeveralCase(StoreCase):
    """Three servers, and matchmakers of them."""

    logger = "zmqrpc.matchmaker"

    def setUp(self):
        super().setUp()
        self.servers = [RedisServer(self) for _ in range(3)]

    def matchmaker(self, limit=1.0):
        return self.closing(redis_matchmaker(reactor, [place_of(server) for server in self.servers], limit, Random(1)))

    def holds(self, server, *records):
        """Tell whether exactly these records are in one server."""
        fields = {field.decode() for field in server.ask("HKEYS", KEY)} - {""}
        return fields == {record_field(record) for record in records}

    def trust(self, *servers):
        """Have servers be there for a minute already."""
        for server in servers:
            server.ask("SET", "zmqrpc:since", int(server.ask("GET", "zmqrpc:since").split()[0]) - 60_000)

    def outages(self):
        return [line for line in self.lines if "fails" in line or "works again" in line]


class WrittenAndReadTests(SeveralCase):
    """Everything goes to all, and what one has is there."""

    async def test_written_to_all(self):
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        self.assertTrue(all(self.holds(server, make_record()) for server in self.servers))
        (sighting,) = await matchmaker.lookup("openstack", "compute")
        (listed,) = await matchmaker.records()
        locations = ", ".join(sorted(f"127.0.0.1:{server.port}" for server in self.servers))
        self.assertEqual((sighting.source, listed.source), (locations, locations))
        await matchmaker.withdraw(make_record())
        self.assertTrue(all(self.holds(server) for server in self.servers))

    async def test_one_round_trip_each(self):
        """A lookup is one command for each server, and asked at once."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        self.trust(*self.servers)
        before = [server.calls()["eval"] for server in self.servers]
        await matchmaker.lookup("openstack", "compute")
        await matchmaker.lookup("openstack", "nobody")
        self.assertEqual(
            [server.calls()["eval"] - count for server, count in zip(self.servers, before, strict=True)], [2] * 3
        )

    async def test_union(self):
        """A record is there when one server has it; of two that have it the younger counts."""
        matchmaker = self.matchmaker()
        records = [make_record(number=number) for number in range(3)]
        for server, record in zip(self.servers, records, strict=True):
            alone = redis_matchmaker(reactor, [place_of(server)], 1.0, Random(1))
            await alone.register(record, 300)
            await alone.close()
        heard = await self.watching(matchmaker, *records)
        self.assertEqual(await self.found(matchmaker), records)
        self.assertEqual([sighting.record for sighting in await matchmaker.records()], records)
        self.assertEqual(
            [sighting.source for sighting in await matchmaker.lookup("openstack", "compute")],
            [f"127.0.0.1:{server.port}" for server in self.servers],
        )
        moved = make_record(addresses=("tcp://10.0.0.1:1",), number=0)
        await pause(0.05)
        alone = redis_matchmaker(reactor, [place_of(self.servers[2])], 1.0, Random(1))
        await alone.register(moved, 300)
        self.assertEqual(await self.found(matchmaker), [moved, *records[1:]])
        await eventually("the change", lambda: heard.last(moved, *records[1:]))
        await alone.withdraw(moved)
        await eventually("the older one", lambda: heard.last(*records))
        await alone.close()

    async def test_key_of_another_type_at_one(self):
        """It is said once, of that server; the others have the record."""
        self.servers[1].ask("SET", KEY, "a string")
        matchmaker = self.matchmaker()
        for _ in range(3):
            await matchmaker.register(make_record(), 300)
        self.assertEqual(await self.found(matchmaker), [make_record()])
        await self.watching(matchmaker, make_record())
        (line,) = [line for line in self.lines if "something under our keys" in line]
        self.assertIn(f"127.0.0.1:{self.servers[1].port} has something under our keys that is not ours, {KEY}", line)
        self.assertEqual(self.servers[1].ask("GET", KEY), b"a string")
        self.assertEqual(self.outages(), [])
        self.servers[1].ask("DEL", KEY)
        self.servers[1].ask("PUBLISH", "zmqrpc:0:new", "")
        await eventually("it gets it as well", lambda: self.holds(self.servers[1], make_record()))


class OneAwayTests(SeveralCase):
    """One of three fails, and nobody notices but the log."""

    async def gone(self, matchmaker, heard, away):
        """Check that everything goes on without this server."""
        second = make_record(number=2)
        begin = reactor.seconds()
        await matchmaker.register(second, 300)
        self.assertEqual((matchmaker.away(), len(matchmaker.failing()) < 2), ("", True))
        self.assertEqual(await self.found(matchmaker), [make_record(), second])
        self.assertEqual(await self.found(self.matchmaker()), [make_record(), second])
        # Which takes up to the limit where one hangs.
        await self.refused(matchmaker.withdraw(second), str(away.port))
        self.assertEqual(await self.found(matchmaker), [make_record()])
        self.assertLess(reactor.seconds() - begin, 5)  # some 0.3 s for each where one hangs
        await eventually("only the first", lambda: heard.last(make_record()))

    async def test_killed(self):
        """One line when it goes and one when it is back; it gets what it lacks, from its owner and there only."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.servers[0].kill()
        await self.gone(matchmaker, heard, self.servers[0])
        second = make_record(number=2)
        await matchmaker.register(second, 300)
        await eventually("both", lambda: heard.last(make_record(), second))
        calls = len(heard.calls)
        begin, writes = reactor.seconds(), [server.calls()["hset"] for server in self.servers[1:]]
        self.servers[0].start()
        await eventually("it has both", lambda: self.holds(self.servers[0], make_record(), second))
        self.assertLess(reactor.seconds() - begin, 5)  # 1.3 s at most on an idle machine
        await eventually(
            "the end of the outage", lambda: len(self.outages()) >= 2 and "works again" in self.outages()[-1]
        )
        self.assertEqual([server.calls()["hset"] for server in self.servers[1:]], writes, "the others have it already")
        self.assertEqual(len(heard.calls), calls, "nothing has changed")
        mine = [line for line in self.outages() if str(self.servers[0].port) in line]
        self.assertEqual((len(self.outages()), len(mine)), (len(mine), len(mine)), self.outages())

    async def test_emptied(self):
        """One that loses everything while it is up takes nothing away, and gets it again."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        await eventually("it hears", lambda: all(len(server.ask("PUBSUB", "CHANNELS")) == 2 for server in self.servers))
        self.servers[1].ask("FLUSHALL")
        self.assertEqual(await self.found(self.matchmaker()), [make_record()])
        await eventually("it has it again", lambda: self.holds(self.servers[1], make_record()))
        self.assertEqual((len(heard.calls), self.outages()), (1, []))
        self.assertEqual(sum("lacks what was registered" in line for line in self.lines), 1)

    async def test_hangs(self):
        """What is asked goes on after 0.3 s, and at once when it is known to hang; then it gets what it missed."""
        matchmaker = self.matchmaker(limit=0.5)
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.servers[2].stop_answering()
        begin = reactor.seconds()
        self.assertEqual(await self.found(matchmaker), [make_record()])
        self.assertGreater(reactor.seconds() - begin, 0.25)
        stranger = self.matchmaker(limit=0.5)
        self.assertEqual([sighting.record for sighting in await stranger.records()], [make_record()])
        hangs = f"the Redis server 127.0.0.1:{self.servers[2].port} has not answered in time"
        self.assertEqual(stranger.failing(), [hangs])
        await stranger.close()
        await self.gone(matchmaker, heard, self.servers[2])
        await eventually("the outage", self.outages)
        begin = reactor.seconds()
        await gatherResults([matchmaker.lookup("openstack", "compute") for _ in range(20)])
        self.assertLess(reactor.seconds() - begin, 0.25)
        second = make_record(number=2)
        await matchmaker.register(second, 300)
        self.servers[2].answer_again()
        await eventually("it has both", lambda: self.holds(self.servers[2], make_record(), second))
        await eventually("the end of the outage", lambda: "works again" in self.outages()[-1])
        self.assertEqual(len(self.outages()), 2, self.outages())

    async def test_wrong_password(self):
        """It is one outage, of that server."""
        self.servers[0].ask("CONFIG", "SET", "requirepass", "secret")
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        await self.gone(matchmaker, heard, self.servers[0])
        line, same = self.outages()  # one of each matchmaker
        self.assertEqual(line, same)
        self.assertIn(f"127.0.0.1:{self.servers[0].port} asks for a password", line)
        with RedisPeer(self.servers[0]) as peer:
            peer.ask("AUTH", "secret")
            peer.ask("CONFIG", "SET", "requirepass", "")
        await eventually("it gets it as well", lambda: self.holds(self.servers[0], make_record()))

    async def test_full(self):
        """One that refuses what is written, but answers: it is tried again and again, and gets it in the end."""
        matchmaker = self.matchmaker()
        heard = await self.watching(matchmaker)
        self.servers[0].ask("CONFIG", "SET", "maxmemory", 1)
        await matchmaker.register(make_record(), 300)
        await eventually("the change", lambda: heard.last(make_record()))
        await pause(1)
        self.servers[0].ask("CONFIG", "SET", "maxmemory", 0)
        await eventually("it has it", lambda: self.holds(self.servers[0], make_record()))
        self.assertLess(sum("lacks what was registered" in line for line in self.lines), 2)

    async def test_withdrawn_meanwhile(self):
        """What was withdrawn while one was away, which kept it, does not come back to the others."""
        matchmaker = self.matchmaker(limit=0.3)
        both = [make_record(), make_record(number=2)]
        await gatherResults([matchmaker.register(record, 300) for record in both])
        heard = await self.watching(matchmaker, *both)
        self.servers[0].stop_answering()
        await matchmaker.lookup("openstack", "compute")
        await eventually("the outage", self.outages)
        begin = reactor.seconds()
        await self.refused(matchmaker.withdraw(both[0]), str(self.servers[0].port))
        self.assertLess(reactor.seconds() - begin, 3)  # the limit is 0.3 s
        await eventually("the withdrawal", lambda: heard.last(both[1]))
        self.assertEqual(await self.found(matchmaker), [both[1]])
        self.servers[0].answer_again()
        await eventually("the end of the outage", lambda: "works again" in self.outages()[-1])
        await pause(0.6)
        self.assertTrue(all(self.holds(server, both[1]) for server in self.servers[1:]))

    async def test_never_expires(self):
        """It is given back to last for ever, and a withdrawal says which server may still have it."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 0)
        await self.watching(matchmaker, make_record())
        await eventually("it hears", lambda: all(len(server.ask("PUBSUB", "CHANNELS")) == 2 for server in self.servers))
        self.servers[1].ask("FLUSHALL")
        await self.found(self.matchmaker())
        await eventually("it has it again", lambda: self.holds(self.servers[1], make_record()))
        alone = redis_matchmaker(reactor, [place_of(self.servers[1])], 1.0, Random(1))
        self.addCleanup(alone.close)
        (sighting,) = await alone.lookup("openstack", "compute")
        self.assertEqual(sighting.lasts, inf)
        self.servers[0].kill()
        await self.refused(matchmaker.withdraw(make_record()), f"127.0.0.1:{self.servers[0].port} refuses")
        self.assertTrue(all(self.holds(server) for server in self.servers[1:]))

    async def test_old_records(self):
        """One that is back with what was true long ago adds that, until it expires; it gets what it lacks."""
        matchmaker, gone = self.matchmaker(), make_record(number=9)
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.servers[0].kill()
        await matchmaker.lookup("openstack", "compute")
        self.servers[0].start()
        alone = redis_matchmaker(reactor, [place_of(self.servers[0])], 1.0, Random(1))
        self.addCleanup(alone.close)
        await alone.register(gone, 1.5)
        await eventually("it gets what it lacks", lambda: self.holds(self.servers[0], make_record(), gone))
        await eventually("all that is there", lambda: heard.last(make_record(), gone))
        await eventually("the end of the old one", lambda: heard.last(make_record()))


class SeveralAwayTests(SeveralCase):
    """Most, or all, are away."""

    async def test_all_away(self):
        """What is asked fails with what is wrong with each; a watch shows what was known; one line for each."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        for server in self.servers:
            server.kill()
        ports = [f"127.0.0.1:{server.port} refuses the connection" for server in self.servers]
        for _ in range(3):
            await self.refused(matchmaker.lookup("openstack", "compute"), *ports)
            await self.refused(matchmaker.records(), *ports)
            await self.refused(matchmaker.register(make_record(number=2), 300), *ports)
            await self.refused(matchmaker.withdraw(make_record(number=2)), *ports)
            await pause(0.1)
        self.assertEqual(len(self.outages()), 3, self.outages())
        self.assertEqual(len(heard.calls), 1)
        self.assertEqual(matchmaker.away(), "; ".join(matchmaker.failing()))
        self.assertEqual(len(matchmaker.failing()), 3)
        for text, port in zip(matchmaker.failing(), ports, strict=True):
            self.assertIn(port.partition(" ")[0], text)

    async def test_one_back_empty(self):
        """While the others are away, one that is back empty says nothing about who is not there."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        for server in self.servers:
            server.kill()
        await self.refused(matchmaker.lookup("openstack", "compute"))
        self.servers[1].start()
        fresh = self.matchmaker()
        back = f"127.0.0.1:{self.servers[1].port}"
        for asking in (fresh, matchmaker):
            # Who has seen it away asks it again when its turn has come, and believes nobody until then.
            while any(back in reason for reason in asking.failing()):
                await self.refused(asking.lookup("openstack", "nobody"))
                await pause(0.05)
            await self.refused(
                asking.lookup("openstack", "nobody"),
                f"127.0.0.1:{self.servers[1].port} came back",
                "less than 10 s ago and may not know yet who is there",
                f"127.0.0.1:{self.servers[0].port} refuses the connection",
            )
        empty, new = Heard(), Heard()
        fresh.watch("openstack", "nobody", empty)
        fresh.watch("openstack", "compute", new)
        await eventually("its owner registers again", lambda: self.holds(self.servers[1], make_record()))
        await eventually("it is shown", lambda: new.last(make_record()))
        self.assertEqual(await self.found(fresh), [make_record()])
        await pause(0.3)
        self.assertEqual((len(heard.calls), empty.calls), (1, []))
        self.trust(self.servers[1])
        self.assertEqual(await self.found(self.matchmaker(), "nobody"), [])
        for server in (self.servers[0], self.servers[2]):
            server.start()
            await eventually("it gets it as well", lambda at=server: self.holds(at, make_record()))
        await eventually("the others say so too", empty.last)
        self.assertEqual(len(heard.calls), 1)

    async def test_all_back_empty(self):
        """When all have lost everything, whoever watches is told, and nobody believes that nobody is there."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        other = self.matchmaker()
        heard = await self.watching(other, make_record())
        await matchmaker.close()
        for server in self.servers:
            server.kill()
        for server in self.servers:
            server.start()
        await eventually("the loss", heard.last)
        for asking in (other, self.matchmaker()):
            await self.refused(asking.lookup("openstack", "compute"), "came back empty less than 10 s ago")

    async def test_trusted(self):
        """One that has been there for long is believed alone."""
        await self.matchmaker().lookup("openstack", "compute")
        self.trust(self.servers[2])
        for server in self.servers[:2]:
            server.kill()
        matchmaker = self.matchmaker()
        self.assertEqual(await self.found(matchmaker), [])
        await self.watching(matchmaker)

    async def test_clock_set_back(self):
        """A time in the future is none: it is as if the server were new."""
        await self.matchmaker().lookup("openstack", "compute")
        self.servers[0].ask("SET", "zmqrpc:since", int(self.servers[0].ask("GET", "zmqrpc:since")) + 3_600_000)
        self.servers[1].ask("SET", "zmqrpc:since", "no number")
        self.servers[2].ask("DEL", "zmqrpc:since")
        await self.matchmaker().lookup("openstack", "compute")
        for server in self.servers:
            seconds, _ = map(int, server.ask("TIME"))
            self.assertLess(abs(int(server.ask("GET", "zmqrpc:since")) - seconds * 1000), 10_000)

    async def test_closed_while_all_hang(self):
        matchmaker = self.matchmaker()
        await self.watching(matchmaker)
        for server in self.servers:
            server.stop_answering()
        asking = [matchmaker.register(make_record(), 300), matchmaker.lookup("openstack", "compute")]
        await matchmaker.close()
        for asked in asking:
            await self.refused(asked, "closed")
        self.assertEqual(self.outages(), [])
