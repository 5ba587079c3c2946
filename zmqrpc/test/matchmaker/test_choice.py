"""Which matchmaker a transport URL means."""

import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zmqrpc import Node, families, matchmaker
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IMatchmakerFactory
from zmqrpc.matchmaker._etcd.store import EtcdStore
from zmqrpc.matchmaker._redis.stores import RedisStores
from zmqrpc.matchmaker.dummy import DummyMatchmaker
from zmqrpc.matchmaker.sqlite import SqliteStore
from zmqrpc.settings import Settings
from zmqrpc.test.processes import CHECKOUT, ENVIRONMENT
from zmqrpc.testing import Network
from zmqrpc.transport_url import MATCHMAKERS


@implementer(IMatchmakerFactory)
class OracleFactory:
    scheme = "oracle"
    local = False

    def make(self, reactor, url, settings):
        return ("oracle", url)


class ChoiceTests(SynchronousTestCase):
    def make(self, url, **options):
        return matchmaker.make_matchmaker(Clock(), Settings.from_url(url, **options))

    def assertRefused(self, text, url, **options):
        self.assertIn(text, str(self.assertRaises(ConfigError, self.make, url, **options)))

    def test_ours(self):
        """The scheme chooses, or the option where the scheme leaves it open."""
        for url in ("zmq://", "zmq:///", "zmq+dummy://", "zmq+dummy:///?rpc_response_timeout=5"):
            self.assertIsInstance(self.make(url), DummyMatchmaker)
        for url, kind in (
            ("zmq+sqlite:///run/zmqrpc/matchmaker.db", SqliteStore),
            ("zmq+redis://127.0.0.1?rpc_response_timeout=5", RedisStores),
            ("zmq+etcd://one,127.0.0.1:5/prefix?rpc_response_timeout=5", EtcdStore),
        ):
            self.assertIsInstance(self.make(url).store, kind)
        self.assertRefused("does not name a file", "zmq://", rpc_zmq_matchmaker="sqlite")

    def test_four_slashes(self):
        """Other libraries write an absolute path so; it is the same file."""
        paths = {self.make(f"zmq+sqlite:{slashes}run/matchmaker.db").store._path for slashes in ("///", "////")}
        self.assertEqual(len(paths), 1)

    def test_factories(self):
        """Every factory of ours is one, and is found by its own scheme."""
        for name in ("dummy", "etcd", "file", "redis", "sentinel", "sqlite"):
            local = name in ("dummy", "sqlite")
            factory = matchmaker.find_factory(name)
            self.assertTrue(verifyObject(IMatchmakerFactory, factory))
            self.assertEqual(factory.scheme, name)
            self.assertEqual(factory.local, local)

    def test_listed(self):
        """Every module of the family is in the list, or it were not found; the page for who adds one names the list."""
        modules = {path.stem for path in Path(matchmaker.__file__).parent.glob("[!_]*.py")}
        self.assertEqual(modules, set(MATCHMAKERS))
        page = (CHECKOUT / "docs" / "inside.rst").read_text()
        for text in ("``MATCHMAKERS``", "``zmqrpc/transport_url.py``"):
            self.assertIn(text, page)

    def test_timeout_of_redis(self):
        """It is an option, in milliseconds; the predecessor's name for it."""
        self.assertEqual(self.make("zmq+redis://h").store._stores[0]._asker._limit, 1)
        self.assertEqual(self.make("zmq+redis://h?matchmaker_timeout=500").store._stores[0]._asker._limit, 0.5)

    def test_unknown(self):
        """An unknown name is refused with those that are valid."""
        self.assertRefused(
            "no matchmaker 'redos'; valid are dummy, etcd, file, redis, sentinel, sqlite", "zmq+redos://h"
        )
        self.assertRefused("no matchmaker 'redos'", "zmq://", rpc_zmq_matchmaker="redos")

    def test_plugin_raises(self):
        """What a plugin raises that it should not is a refusal that names it, and says what was raised."""
        self.patch(families, "getPlugins", lambda interface, package: iter([OracleFactory()]))
        self.patch(OracleFactory, "make", lambda self, reactor, url, settings: reactor.callFromThread)
        refused = self.assertRaises(ConfigError, self.make, "zmq+oracle://:secret@h")
        self.assertIn(
            "the plugin zmqrpc.test.matchmaker.test_choice.OracleFactory raised AttributeError:", str(refused)
        )
        self.assertIn("test_choice.py line ", str(refused))
        self.assertEqual(refused.options, ("url",))
        self.assertIsInstance(refused.__cause__, AttributeError)

    def test_plugin(self):
        """A third party's is found, and does not hide ours."""
        theirs = OracleFactory()
        hiding = OracleFactory()
        hiding.scheme = "dummy"
        self.patch(families, "getPlugins", lambda interface, package: [theirs, hiding])
        self.assertEqual(self.make("zmq+oracle://delphi"), ("oracle", "zmq+oracle://delphi"))
        self.assertIsInstance(self.make("zmq://"), DummyMatchmaker)
        self.assertRefused("valid are dummy, etcd, file, oracle, redis, sentinel, sqlite", "zmq+redos://h")

    def test_node(self):
        """A node finds its matchmaker once: looking for plugins reads directories."""
        looked: list[object] = []
        self.patch(families, "getPlugins", lambda *what: looked.append(what) or iter([OracleFactory()]))
        dummy = self.make("zmq://")
        self.patch(OracleFactory, "make", lambda self, reactor, url, settings: dummy)
        network = Network()
        Node(network.clock, "zmq+oracle://h", transport=network.transport("h"))
        self.assertEqual(len(looked), 1)

    def test_refused(self):
        """A URL that is not as its matchmaker needs it is refused with one that is."""
        for url in (
            "zmq+sqlite://",
            "zmq+sqlite:///",
            "zmq+sqlite://run/matchmaker.db",
            "zmq+sqlite://localhost/run/matchmaker.db",
            "zmq+sqlite:///run/zmqrpc/",
            "zmq+sqlite:///run/a%00b",
            "zmq+sqlite:///run/a#b",
        ):
            self.assertRefused("for example zmq+sqlite:///var/lib/zmqrpc/matchmaker.db", url)
        for url in ("zmq:", "zmq+sqlite:matchmaker.db", "zmq+sqlite:/run/x.db", "zmq+redis:/h", "zmq+redis"):
            self.assertRefused("zmq+redis", url)
        for url in ("zmq://localhost", "zmq+dummy://localhost:5", "zmq+dummy:///path"):
            self.assertRefused("for this process alone write zmq://", url)

    def test_nothing_imported(self):
        """Importing the package imports no store; making a matchmaker imports no foreign library and no reactor."""
        program = (
            "import sys, zmqrpc.matchmaker as m; from zmqrpc.settings import Settings; from twisted.internet.task "
            "import Clock; m.make_matchmaker(Clock(), Settings()); "
            "m.make_matchmaker(Clock(), Settings('zmq+redis://127.0.0.1')); "
            "m.make_matchmaker(Clock(), Settings('zmq+etcd://127.0.0.1')); "
            "foreign = 'sqlite3', 'txredisapi', 'treq', 'twisted.web.client', 'twisted.internet.reactor'; "
            "print([name for name in foreign if name in sys.modules])"
        )
        command = [sys.executable, "-c", program]
        answer = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        self.assertEqual((answer.stdout, answer.stderr), ("[]\n", ""))
