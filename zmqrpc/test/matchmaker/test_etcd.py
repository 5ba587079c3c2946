"""The matchmaker in etcd, with a real member."""

import math
import urllib.error
from random import Random
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.interfaces import IOutages
from zmqrpc.matchmaker import _entry, make_matchmaker
from zmqrpc.matchmaker._etcd import store
from zmqrpc.matchmaker._etcd.names import EtcdNames
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker.etcd import etcd_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.certificates import Authority
from zmqrpc.test.etcd import allow, encoded, single
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.matchmaker.support import StoreCase
from zmqrpc.test.ports import free_port
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record

reactor: Any = _reactor


class EtcdContract(MatchmakerContract, TestCase):
    """The contract; etcd looks each half a second what has expired."""

    reactor = reactor
    coarse = 0.5
    shares_doubts = True

    def setUp(self):
        self.member = single(self)

    def make_matchmaker(self):
        return etcd_matchmaker(reactor, EtcdPlace.from_url(self.member.url), 2.0, Random())

    def make_unreachable(self):
        return etcd_matchmaker(reactor, EtcdPlace((("127.0.0.1", free_port()),)), 2.0, Random())

    async def lose_everything(self):
        self.member.restart(empty=True)
        return True


class EtcdCase(StoreCase):
    """A member, and matchmakers of it."""

    options: tuple[str, ...] = ()
    logger = "zmqrpc.matchmaker"

    def setUp(self):
        super().setUp()
        self.member = single(self, *self.options)

    def matchmaker(self, url=None, limit=2.0, **fields):
        place = attrs.evolve(EtcdPlace.from_url(url or self.member.url), **fields)
        return self.closing(etcd_matchmaker(reactor, place, limit, Random(1)))

    async def watching(self, matchmaker, *records):
        """Watch, and wait until everything is heard."""
        heard = await super().watching(matchmaker, *records)
        await eventually("it hears", lambda: matchmaker.store._follower.hears)
        return heard


class StoredTests(EtcdCase):
    """What is in the store, as docs/spec/records says."""

    async def test_form(self):
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record("a:b/c", exchange="100%", pool="audit"), 300)
        await matchmaker.register(make_record("c", exchange="x"), 0)
        held = self.member.held()
        number = held.pop("/zmqrpc/store")
        self.assertRegex(number, "^[0-9a-f]{32}$")
        body = '{"addresses":["tcp://127.0.0.1:49153"]}'
        self.assertEqual(
            held,
            {
                "/zmqrpc/format": "1",
                f"/zmqrpc/topic/100%25/a%3Ab%2Fc/server:node-1:{1:032x}:audit": body,
                f"/zmqrpc/topic/x/c/server:node-1:{1:032x}:": body,
            },
        )
        leases = self.member.ask("lease/leases")["leases"]
        granted = {self.member.ask("lease/timetolive", ID=lease["ID"])["grantedTTL"] for lease in leases}
        self.assertEqual((granted, len(leases)), ({"300", "60"}, 2), "that of the records, and that of the guard")

    async def test_withdrawn(self):
        """What was withdrawn leaves no lease."""
        matchmaker = self.matchmaker()
        records = [make_record(), make_record("other")]
        await gatherResults([matchmaker.register(record, 300) for record in records])
        await gatherResults([matchmaker.withdraw(record) for record in records])
        self.assertCountEqual(self.member.held(), ["/zmqrpc/format", "/zmqrpc/store"])
        self.assertNotIn("leases", self.member.ask("lease/leases"))

    async def test_one_transaction(self):
        """What is registered or withdrawn in one turn is one revision."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        before = self.member.revision()
        records = [make_record(number=number) for number in range(100)]
        await gatherResults([matchmaker.register(record, 300) for record in records])
        self.assertEqual(self.member.revision(), before + 1)
        await gatherResults([matchmaker.withdraw(record) for record in records])
        self.assertEqual(self.member.revision(), before + 2)

    async def test_refresh(self):
        """A refresh writes nothing."""
        matchmaker = self.matchmaker()
        records = [make_record(number=number) for number in range(300)]
        for _ in range(3):
            await gatherResults([matchmaker.register(record, 300) for record in records])
        self.assertEqual(self.member.revision(), 4)  # the first is 1, and 300 are three transactions
        self.assertEqual(len(self.member.ask("lease/leases")["leases"]), 1)

    async def test_restored(self):
        """What somebody removed, replaced or took from our lease is there again after the next refresh."""
        matchmaker = self.matchmaker()
        records = [make_record(number=number) for number in range(3)]
        names = EtcdNames("zmqrpc")
        await gatherResults([matchmaker.register(record, 300) for record in records])
        before = self.member.held()
        self.member.ask("kv/deleterange", key=names.record(records[0]))
        self.member.put(names.record(records[1]), "{}")
        self.member.put(names.record(records[2]), before[names.record(records[2])])
        await gatherResults([matchmaker.register(record, 300) for record in records])
        self.assertEqual(self.member.held(), before)
        (lease,) = self.member.ask("lease/leases")["leases"]
        self.assertEqual(len(self.member.ask("lease/timetolive", ID=lease["ID"], keys=True)["keys"]), 3)

    async def test_lease_lost(self):
        """A lease that has ended while we were away is made anew."""
        matchmaker = self.matchmaker()
        record = make_record()
        await matchmaker.register(record, 300)
        heard = await self.watching(matchmaker, record)
        (lease,) = self.member.ask("lease/leases")["leases"]
        self.member.ask("lease/revoke", ID=lease["ID"])
        await eventually("the loss", heard.last)
        await matchmaker.register(record, 300)
        await eventually("its return", lambda: heard.last(record))
        self.assertEqual(await self.found(matchmaker), [record])

    async def test_other_format(self):
        """A store of another format is refused with both numbers, and not changed."""
        self.member.put("/zmqrpc/format", "2")
        before = self.member.held()
        matchmaker = self.matchmaker()
        for asked in (
            matchmaker.register(make_record(), 300),
            matchmaker.withdraw(make_record()),
            matchmaker.lookup("openstack", "compute"),
            matchmaker.records(),
        ):
            text = "holds records of format '2', this zmqrpc reads format 1 (/zmqrpc/format); run one release"
            await self.refused(asked, text, "another prefix")
        self.assertEqual(self.member.held(), before)
        self.assertEqual(await self.matchmaker(f"{self.member.url}/other").records(), [])

    async def test_prefixes(self):
        """What is under another prefix is of somebody else."""
        one, other = self.matchmaker(f"{self.member.url}/a/b"), self.matchmaker(f"{self.member.url}/a/bc")
        await one.register(make_record(), 300)
        self.assertEqual((await self.found(one), await self.found(other)), ([make_record()], []))
        self.assertEqual(await other.records(), [])

    async def test_strange_keys(self):
        """What is not ours or malformed is skipped and counted; a newer version is read as far as it is known."""
        self.patch(_entry, "_said", {})
        matchmaker = self.matchmaker()
        good = make_record()
        await matchmaker.register(good, 300)
        heard = await self.watching(matchmaker, good)
        start = "/zmqrpc/topic/openstack/compute/"
        body = self.member.held()[EtcdNames("zmqrpc").record(good)]
        self.member.put(f"{start}nonsense", "x")
        self.member.put(f"{start}server:bad:{9:032x}:", "{")
        self.member.put(f"{start}server:bad:{8:032x}:", '{"addresses":[5]}')
        self.member.put(f"{start}oracle:node-7:{7:032x}:", body)
        self.member.put(f"{start}server:node-6:{6:032x}:", body[:-1] + ',"colour":"red"}')
        self.member.ask("kv/put", key=f"{start}server:node-5:x:", value=b"\xff\xfe")
        self.member.put(f"{start}more/server:node-4:{4:032x}:", body)
        self.member.put("/zmqrpc/topic/", "x")
        self.member.put("/zmqrpc/elsewhere", "x")
        newer = make_record(member="node-6", number=6, addresses=good.addresses)
        await eventually("the newer one", lambda: heard.last(good, newer))
        for _ in range(2):
            self.assertEqual(await self.found(matchmaker), [good, newer])
        listed = [sighting.record for sighting in await matchmaker.records()]
        self.assertEqual(listed, [good, newer])
        # One line for the first of them, and one when it was twice as many.
        called = f"etcd at 127.0.0.1:{self.member.port}"
        for topic, text in (
            ("? in exchange ?", f"; the first is {start}nonsense (it is no key of a record)"),
            ("compute in exchange openstack", f"; the first is {start}server:bad:{9:032x}: ("),
        ):
            lines = self.lines.about(f"{called} holds malformed records of {topic}")
            self.assertIn(len(lines), (1, 2), self.lines)
            self.assertIn(text, lines[0])
        self.assertEqual(_entry._said, {(called, ("?", "?")): 2, (called, ("openstack", "compute")): 3})
        self.assertEqual(len(self.lines.about("colour")), 0)

    async def test_odd_names(self):
        """Names that are long, look like numbers, or hold what others would take for an end."""
        matchmaker = self.matchmaker()
        records = [
            make_record(name, name, exchange=name) for name in ("0", "1_000", "-1.5", "null", "é" * 127, "..", "#?")
        ]
        records.append(make_record(pool="p" * 255))
        records.append(make_record(pool="\x85 :/%"))
        await gatherResults([matchmaker.register(record, 300) for record in records])
        for record in records[:-2]:
            self.assertEqual([s.record for s in await matchmaker.lookup(record.exchange, record.topic)], [record])
        self.assertCountEqual(await self.found(matchmaker), records[-2:])
        self.assertEqual(await matchmaker.lookup("openstack", "t" * 10_000), [])
        self.assertEqual(await matchmaker.lookup("open\0stack", "\n"), [])

    async def test_ages(self):
        """`records` tells how long ago a lease was kept alive, and no age of what never expires."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        await matchmaker.register(make_record(number=2), 0)
        one, other = await matchmaker.records()
        self.assertIn(one.age, (0.0, 1.0))
        self.assertIsNone(other.age)
        self.assertEqual((one.lasts, other.lasts), (300, math.inf))
        self.assertEqual(one.source, f"127.0.0.1:{self.member.port}")

    async def test_ages_unknown(self):
        """Where ages cannot be had, in time or at all, everything is listed without."""
        matchmaker = self.matchmaker()
        records = [make_record(), make_record(number=2)]
        await matchmaker.register(records[0], 300)
        await matchmaker.register(records[1], 0)
        listed = [(records[0], None, None), (records[1], None, math.inf)]
        for owner, name, instead in (
            (store, "LEASES_SECONDS", 0.0),
            (matchmaker.store._words, "time_to_live", lambda lease: ("/v3/nonsense", b"{}")),
        ):
            patch = self.patch(owner, name, instead)
            found = await matchmaker.records()
            self.assertEqual([(each.record, each.age, each.lasts) for each in found], listed)
            patch.restore()


class FollowedTests(EtcdCase):
    """What is told."""

    async def test_compacted(self):
        """Where what was missed is not kept any more, a topic is looked at again."""
        matchmaker, other = self.matchmaker(), self.matchmaker()
        record, second = make_record(), make_record(number=2)
        await other.register(record, 300)
        heard = await self.watching(matchmaker, record)
        matchmaker.store._follower._stream.end()
        matchmaker.store._follower._stream = None
        await other.register(second, 300)
        await other.withdraw(record)
        for number in range(10):
            await other.register(make_record("other", number=number), 300)
        self.member.ask("kv/compaction", revision=self.member.revision(), physical=True)
        matchmaker.store._follower._begin_in(0)
        await eventually("what is there", lambda: heard.last(second))
        await other.register(record, 300)
        await eventually("what comes", lambda: heard.last(record, second))

    async def test_restarted(self):
        """A member that comes back with all it had costs one look at the topics; no change is missed or told twice."""
        matchmaker, other = self.matchmaker(), self.matchmaker()
        record, second = make_record(), make_record(number=2)
        await other.register(record, 300)
        heard = await self.watching(matchmaker, record)
        follower = matchmaker.store._follower
        looked = []
        follower._look = lambda topic: looked.append(topic) or matchmaker.store._looks.ask(topic)
        self.member.restart()
        await self.refused_or_not(other, second)
        await eventually("what came meanwhile", lambda: heard.last(record, second))
        await eventually("the look", lambda: looked)
        self.assertEqual((looked, len(heard.calls)), ([("openstack", "compute")], 2))

    async def refused_or_not(self, matchmaker, record):
        while True:
            try:
                return await matchmaker.register(record, 300)
            except MatchmakerUnavailable:
                await pause(0.05)

    async def test_outages(self):
        """What is known of an outage is told, and until it is over."""
        matchmaker = self.matchmaker(limit=0.5)
        self.assertTrue(verifyObject(IOutages, matchmaker))
        await matchmaker.register(make_record(), 300)
        await self.watching(matchmaker, make_record())
        self.assertEqual((matchmaker.away(), matchmaker.failing()), ("", []))
        self.member.kill()
        await eventually("it is known", matchmaker.away)
        self.assertIn(f"the etcd server 127.0.0.1:{self.member.port} ", matchmaker.away())
        self.assertEqual(matchmaker.failing(), [matchmaker.away()])
        self.member.begin()
        await eventually("it is over", lambda: not matchmaker.away())

    async def test_hung(self):
        """A member that hangs is noticed by who only watches; one line when it begins, one when it ends."""
        matchmaker, other = self.matchmaker(limit=0.5), self.matchmaker()
        heard = await self.watching(matchmaker)
        self.member.stop_answering()
        await eventually("it is noticed", lambda: self.lines.about("did not answer within 0.5 s"))
        await pause(0.5)
        self.member.answer_again()
        await eventually("the end", lambda: self.lines.about("works again"))
        await self.refused_or_not(other, make_record())
        await eventually("what comes", lambda: heard.last(make_record()))
        self.assertEqual(len(self.lines), 2, self.lines)

    async def test_emptied(self):
        """Somebody deletes all keys: that is told, and everything works as in a new store."""
        matchmaker, other = self.matchmaker(), self.matchmaker()
        await other.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.member.ask("kv/deleterange", key="/zmqrpc/", range_end="/zmqrpc0")
        await eventually("the loss", heard.last)
        await other.register(make_record(), 300)
        await eventually("its return", lambda: heard.last(make_record()))

    async def test_many_topics(self):
        """
        Hundreds of watches are one request, all of which is read.

        Over a connection that is kept, the gateway would forget some of them, more often than not.
        """
        matchmaker, other = self.matchmaker(), self.matchmaker()
        heard = {f"topic-{number}": Heard() for number in range(300)}
        for name, each in heard.items():
            matchmaker.watch("openstack", name, each)
        for name, each in heard.items():
            await eventually(name, each.last)
        await eventually(
            "all are watched", lambda: all(f.watched for f in matchmaker.store._follower._followed.values())
        )
        await gatherResults([other.register(make_record(name), 300) for name in heard])
        for name, each in heard.items():
            await eventually(name, lambda each=each, name=name: each.last(make_record(name)))
        self.assertEqual(self.lines, [])

    async def test_many_lookups(self):
        """As many lookups as one likes at once are few questions, and none of them fails."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record("topic-7"), 300)
        found = await gatherResults([matchmaker.lookup("openstack", f"topic-{number}") for number in range(3000)])
        self.assertEqual([number for number, each in enumerate(found) if each], [7])
        self.assertEqual(self.lines, [])

    async def test_topics_come_and_go(self):
        """Many topics are watched with one stream, whichever was added when."""
        matchmaker, other = self.matchmaker(), self.matchmaker()
        heard = {}
        for number in range(30):
            name = f"topic-{number}"
            heard[name] = Heard()
            stop = matchmaker.watch("openstack", name, heard[name])
            if number % 3 == 0:
                stop()
                del heard[name]
            if number % 5 == 0:
                await pause(0.01)
        await gatherResults([other.register(make_record(name), 300) for name in heard])
        for name, each in heard.items():
            await eventually(name, lambda each=each, name=name: each.last(make_record(name)))
        await gatherResults([other.withdraw(make_record(name)) for name in heard])
        for name, each in heard.items():
            await eventually(name, each.last)

    async def test_counted(self):
        """Who watches one topic knows how many there are on all of them."""
        matchmaker = self.matchmaker()
        for number in range(1, 131):
            self.member.ask("lease/grant", ID=number, TTL=60)
        await self.watching(matchmaker)
        matchmaker.store._count_at = 0
        await eventually("they are counted", lambda: matchmaker.store._crowd.seconds == 1.3)


class HungTests(EtcdCase):
    """The only member hangs."""

    async def test_in_time(self):
        """What is asked fails in time, and at most a hundred questions wait; afterwards all is as before."""
        matchmaker = self.matchmaker(limit=0.6)
        await matchmaker.register(make_record(), 300)
        self.member.stop_answering()
        began = reactor.seconds()
        asked = [matchmaker.lookup("openstack", f"topic-{number}") for number in range(3000)]
        await pause(0.1)
        self.assertEqual(len(matchmaker.store._asker._waiting), 100)
        written = [matchmaker.register(make_record(), 300), matchmaker.withdraw(make_record(number=2))]
        for each in asked + written:
            with self.assertRaises(MatchmakerUnavailable):
                await each
        self.assertLess(reactor.seconds() - began, 2)
        self.member.answer_again()
        await pause(0.3)
        self.assertEqual(await self.found(matchmaker), [make_record()])


class QuotaTests(EtcdCase):
    """The store is full."""

    options = ("--quota-backend-bytes=200000",)

    def fill(self):
        with self.assertRaises(urllib.error.HTTPError) as caught:
            for number in range(100):
                self.member.put(f"/x/{number}", "x" * 10_000)
        caught.exception.close()

    def empty(self):
        self.member.ask("kv/deleterange", key="/x/", range_end="/x0")
        self.member.ask("kv/compaction", revision=self.member.revision(), physical=True)
        self.member.ask("maintenance/defragment")
        for alarm in self.member.ask("maintenance/alarm", action="GET")["alarms"]:
            self.member.ask("maintenance/alarm", action="DEACTIVATE", **alarm)

    async def test_full(self):
        """
        New records are refused with a sentence; refreshes, withdrawals, lookups and watches work.

        That is one outage all the time, until something is written again.
        """
        matchmaker = self.matchmaker()
        for number in (1, 3, 4, 5):
            await matchmaker.register(make_record(number=number), 300)
        self.fill()
        for number in (3, 4, 5):
            await self.refused(matchmaker.register(make_record(number=2), 30), "NOSPACE", "defragment")
            await matchmaker.register(make_record(), 300)
            await matchmaker.withdraw(make_record(number=number))
            heard = Heard()
            matchmaker.watch("openstack", f"topic-{number}", heard)
            await eventually("it hears", heard.last)
            await pause(0.2)
            self.assertIn("NOSPACE", matchmaker.away())
        self.assertEqual(await self.found(matchmaker), [make_record()])
        (line,) = self.lines
        self.assertIn(f"etcd at 127.0.0.1:{self.member.port} fails: ", line)
        self.empty()
        await matchmaker.register(make_record(number=2), 30)
        self.assertEqual((matchmaker.away(), len(self.lines)), ("", 2), self.lines)
        self.assertIn("works again", self.lines[1])

    async def test_full_for_who_writes_no_more(self):
        """Who was refused and has nothing to write any more takes it for over after a while."""
        self.patch(store, "FULL_SECONDS", 0.3)
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        self.fill()
        await self.refused(matchmaker.register(make_record(number=2), 30), "NOSPACE")
        await pause(0.3)
        self.assertEqual(await self.found(matchmaker), [make_record()])
        self.assertEqual((matchmaker.away(), len(self.lines)), ("", 2), self.lines)


class AuthenticationTests(EtcdCase):
    """A store that knows users."""

    def setUp(self):
        super().setUp()
        allow(self.member.ask, nova="READWRITE", reader="READ", narrow="READ")

    def url_of(self, user, password="secret", path=""):
        return f"zmq+etcd://{user}:{password}@127.0.0.1:{self.member.port}{path}"

    async def test_user(self):
        """A user whose role has our prefix can do everything."""
        matchmaker, other = (self.matchmaker(self.url_of("nova")) for _ in range(2))
        heard = await self.watching(matchmaker)
        await other.register(make_record(), 300)
        await eventually("it is told", lambda: heard.last(make_record()))
        await other.register(make_record(), 300)
        (listed,) = await matchmaker.records()
        self.assertIsNotNone(listed.age)
        await other.withdraw(make_record())
        await eventually("it is told", heard.last)

    async def test_new_token(self):
        """A token that a restart has made worthless is fetched anew."""
        matchmaker = self.matchmaker(self.url_of("nova"))
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.member.restart()
        await eventually("it hears again", lambda: matchmaker.store._follower.hears)
        await matchmaker.register(make_record(), 300)
        self.assertEqual(await self.found(matchmaker), [make_record()])
        self.assertTrue(heard.last(make_record()))

    async def test_changed_rights(self):
        """A token from before the rights were changed is fetched anew."""
        matchmaker = self.matchmaker(self.url_of("nova"))
        await matchmaker.register(make_record(), 300)
        token = self.member.ask("auth/authenticate", name="root", password="secret")["token"]
        self.member.ask("auth/role/add", token=token, name="another")
        await matchmaker.register(make_record(number=2), 300)
        self.assertEqual(len(await self.found(matchmaker)), 2)

    async def test_wrong_password(self):
        """It is said once, without the password, and tried again."""
        matchmaker = self.matchmaker(self.url_of("nova", "secretly"))
        heard = Heard()
        matchmaker.watch("openstack", "compute", heard)
        await self.refused(matchmaker.lookup("openstack", "compute"), "refuses the user or the password")
        await self.refused(matchmaker.register(make_record(), 300), "refuses the user or the password")
        await pause(1)
        self.assertEqual(len(self.lines.about("the matchmaker in etcd")), 1, self.lines)
        token = self.member.ask("auth/authenticate", name="root", password="secret")["token"]
        self.member.ask("auth/user/changepw", token=token, name="nova", password="secretly")
        await eventually("it works by itself", heard.last)

    async def test_no_user(self):
        await self.refused(
            self.matchmaker().records(), "asks who we are; write user and password into the transport URL"
        )

    async def test_other_prefix(self):
        """Rights for our prefix are none for another."""
        matchmaker = self.matchmaker(self.url_of("nova", path="/other"))
        await self.refused(matchmaker.records(), "docs/howto/etcd")
        await self.refused(matchmaker.register(make_record(), 300), "docs/howto/etcd", kind=ConfigError)
        await self.refused(matchmaker.withdraw(make_record()), "docs/howto/etcd")

    async def test_reader(self):
        """Who may only read looks up and hears, and is refused what it registers, for good."""
        reader, other = self.matchmaker(self.url_of("reader")), self.matchmaker(self.url_of("nova"))
        await other.register(make_record(), 300)
        heard = await self.watching(reader, make_record())
        await self.refused(reader.register(make_record(number=2), 300), "may read and write", kind=ConfigError)
        self.assertEqual(await self.found(reader), [make_record()])
        self.assertTrue(heard.last(make_record()))

    async def test_other_topic(self):
        """A topic that we may not read does not keep us from those that we may."""
        token = self.member.ask("auth/authenticate", name="root", password="secret")["token"]
        self.member.ask("auth/role/revoke", token=token, role="narrow", key="/zmqrpc/", range_end="/zmqrpc0")
        topic = EtcdNames("zmqrpc").topic(("openstack", "compute"))
        for start, end in (("/zmqrpc/format", ""), ("/zmqrpc/store", ""), (topic, topic[:-1] + "0")):
            permission = {"permType": "READ", "key": encoded(start), "range_end": encoded(end)}
            self.member.ask("auth/role/grant", token=token, name="narrow", perm=permission)
        await self.matchmaker(self.url_of("nova")).register(make_record(), 300)
        narrow = self.matchmaker(self.url_of("narrow"))
        found, denied = narrow.lookup("openstack", "compute"), narrow.lookup("openstack", "volume")
        self.assertEqual([sighting.record for sighting in await found], [make_record()])
        await self.refused(denied, "may read and write our prefix")

    async def test_no_users(self):
        """A user in the URL where the store knows none is refused."""
        token = self.member.ask("auth/authenticate", name="root", password="secret")["token"]
        self.member.ask("auth/disable", token=token)
        await self.refused(self.matchmaker(self.url_of("nova")).records(), "knows no users")


class UsersTests(EtcdCase):
    """Users come and go while we run."""

    def matchmaker_of(self, user):
        return self.matchmaker(f"zmq+etcd://{user}:secret@127.0.0.1:{self.member.port}")

    async def works(self, matchmaker, *records):
        await eventually("it works", lambda: not matchmaker.away())
        await eventually("it hears", lambda: matchmaker.store._follower.hears)
        self.assertCountEqual(await self.found(matchmaker), records)

    async def test_switched_on(self):
        """Who names a user is refused until there are users; who names none, from then on. Both are told once."""
        named, nameless = self.matchmaker_of("nova"), self.matchmaker()
        await nameless.register(make_record(), 300)
        heard = await self.watching(nameless, make_record())
        mine = Heard()
        named.watch("openstack", "compute", mine)
        await self.refused(named.lookup("openstack", "compute"), "knows no users")
        allow(self.member.ask, nova="READWRITE")
        await eventually("it works by itself", lambda: mine.last(make_record()))
        await named.register(make_record(number=2), 300)
        await self.works(named, make_record(), make_record(number=2))
        await self.refused(nameless.register(make_record(), 300), "asks who we are")
        await self.refused(nameless.lookup("openstack", "compute"), "asks who we are")
        self.assertTrue(nameless.away())
        self.assertIn(make_record(), [sighting.record for sighting in heard.calls[-1]], "what was known is known")
        self.assertLessEqual(len(self.lines.about("fails: ")), 3, self.lines)

    async def test_removed(self):
        """A user that is removed is refused with a sentence, told once, and works again when he is back."""
        allow(self.member.ask, nova="READWRITE")
        matchmaker = self.matchmaker_of("nova")
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        token = self.member.ask("auth/authenticate", name="root", password="secret")["token"]
        self.member.ask("auth/user/delete", token=token, name="nova")
        await eventually("it is noticed", matchmaker.away)
        for _ in range(2):
            await self.refused(matchmaker.lookup("openstack", "compute"), "refuses the user or the password")
        self.assertTrue(heard.last(make_record()), "what was known is known")
        token = self.member.ask("auth/authenticate", name="root", password="secret")["token"]
        self.member.ask("auth/user/add", token=token, name="nova", password="secret")
        self.member.ask("auth/user/grant", token=token, user="nova", role="nova")
        await self.works(matchmaker, make_record())
        self.assertEqual(len(self.lines), 2, self.lines)


class TokenTests(EtcdCase):
    """Tokens that end after a second."""

    options = ("--auth-token-ttl=1",)

    async def test_ended(self):
        """They are fetched anew, for what is asked and for what is heard."""
        allow(self.member.ask, nova="READWRITE")
        url = f"zmq+etcd://nova:secret@127.0.0.1:{self.member.port}"
        matchmaker, idle = self.matchmaker(url), self.matchmaker(url)
        await idle.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        first = idle.store._access._token
        await pause(2.5)
        await idle.register(make_record(number=2), 300)
        self.assertNotEqual(idle.store._access._token, first)
        await eventually("it is told", lambda: heard.last(make_record(), make_record(number=2)))
        self.assertEqual(len(await self.found(matchmaker)), 2)
        self.assertEqual(self.lines, [])


class SignedTokenTests(TokenTests):
    """Tokens that every member can check (JWT)."""

    def setUp(self):
        certificate, key = Authority(self).issue("localhost")
        self.options = (f"--auth-token=jwt,pub-key={certificate},priv-key={key},sign-method=ES256,ttl=1s",)
        super().setUp()


class TlsTests(TestCase):
    """A store that is reached by TLS."""

    timeout = 60

    def setUp(self):
        self.authority = Authority(self)
        certificate, key = self.authority.issue("127.0.0.1", "localhost")
        options = [f"--cert-file={certificate}", f"--key-file={key}"]
        options += ["--client-cert-auth", f"--trusted-ca-file={self.authority.certificate}"]
        self.member = single(self, *options, scheme="https")

    def matchmaker(self, **options):
        certificate, key = self.authority.issue("localhost")
        given = {
            "matchmaker_tls": True,
            "matchmaker_tls_ca": self.authority.certificate,
            "matchmaker_tls_certificate": certificate,
            "matchmaker_tls_key": key,
            **options,
        }
        settings = Settings.from_url(self.member.url, **given)
        made = make_matchmaker(reactor, settings)
        self.addCleanup(made.close)
        return made

    async def refused(self, matchmaker, text):
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await matchmaker.records()
        self.assertIn(text, str(caught.exception))

    async def test_both_known(self):
        matchmaker, heard = self.matchmaker(), Heard()
        matchmaker.watch("openstack", "compute", heard)
        await eventually("the first call", heard.last)
        await self.matchmaker(matchmaker_tls_name="localhost").register(make_record(), 300)
        await eventually("it is told", lambda: heard.last(make_record()))

    async def test_not_trusted(self):
        """Neither a member of another authority is used, nor one of another name, nor does it take us without one."""
        other = Authority(self, "other")
        await self.refused(
            self.matchmaker(matchmaker_tls_ca=other.certificate), "has a certificate that is not accepted; check"
        )
        await self.refused(
            self.matchmaker(matchmaker_tls_name="example.org"), "has a certificate for another name; connect to it by"
        )
        await self.refused(
            self.matchmaker(matchmaker_tls_certificate=None, matchmaker_tls_key=None),
            f"the etcd server 127.0.0.1:{self.member.port} wants to see a certificate; set "
            "matchmaker_tls_certificate and matchmaker_tls_key to one that it accepts",
        )
        stranger, key = other.issue("localhost")
        await self.refused(
            self.matchmaker(matchmaker_tls_certificate=stranger, matchmaker_tls_key=key),
            "does not accept our certificate; see whom it believes, and matchmaker_tls_certificate",
        )

    async def test_without(self):
        await self.refused(
            self.matchmaker(
                matchmaker_tls=False, matchmaker_tls_ca=None, matchmaker_tls_certificate=None, matchmaker_tls_key=None
            ),
            "whether it asks for TLS",
        )

    async def test_with_none(self):
        """TLS to a member that has none."""
        plain = single(self)
        self.member = plain
        await self.refused(self.matchmaker(), "whether it has TLS")
