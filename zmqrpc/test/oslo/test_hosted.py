"""Programs that use the driver as few do: their reactor ends before they do, they log by sending, they drop it."""

from __future__ import annotations

import json
from collections import Counter
from textwrap import dedent
from typing import Any

from zmqrpc.stall import STALL_SECONDS
from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.ports import free_port
from zmqrpc.test.servers import RedisServer

START = """
import json, logging, os, sys, threading, time
from oslo_config import cfg
import oslo_messaging

cfg.CONF([])

def transport_of(url):
    return oslo_messaging.get_rpc_transport(cfg.CONF, url)

def client_of(transport, **more):
    return oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="hosted"), **more)

def notifier_of(url):
    transport = oslo_messaging.get_notification_transport(cfg.CONF, url)
    return oslo_messaging.Notifier(transport, "hosted", driver="messaging", topics=["hosted"])

def outcome(act, *words, **more):
    began = time.monotonic()
    try:
        told = act(*words, **more)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    return [told, time.monotonic() - began]
"""
GREEN = "import eventlet; eventlet.monkey_patch()\n"

ENDED = """
from twisted.internet import reactor
from zmqrpc import use_monotonic_clock

use_monotonic_clock(reactor)
told = {}
transport = transport_of(sys.argv[1])
client = client_of(transport, timeout=20)
server = oslo_messaging.get_rpc_server(
    transport, oslo_messaging.Target(topic="ended", server="one"), [object()], executor="threading"
)

def work():
    told["before"] = outcome(client.call, {}, "name")
    server.start()
    threading.Timer(0.5, reactor.callFromThread, [reactor.stop]).start()
    told["during"] = outcome(client.call, {}, "nap", seconds=30)

thread = threading.Thread(target=work)
reactor.callWhenRunning(thread.start)
reactor.run()
thread.join()
told["after"] = outcome(client.call, {}, "name")
told["cast"] = outcome(client.cast, {}, "note")
told["stop"] = outcome(server.stop)
told["wait"] = outcome(server.wait)
told["cleanup"] = outcome(transport.cleanup)
told["other"] = outcome(client_of(transport_of(sys.argv[1])).call, {}, "name")
print(json.dumps(told))
"""

LATER = """
from zmqrpc import use_monotonic_clock

told = {}
client = client_of(transport_of(sys.argv[1]), timeout=10)
told["before"] = client.call({}, "name")

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

use_monotonic_clock(reactor)

def answered(answer):
    told["thread"] = answer
    told["held"] = client.call({}, "name")
    reactor.stop()

reactor.callWhenRunning(lambda: deferToThread(client.call, {}, "name").addCallback(answered))
reactor.run()
told["after"] = client.call({}, "name")
print(json.dumps(told))
"""

LOGS = """
from twisted.logger import Logger
from zmqrpc.oslo.reactor import reactor_here

class Sends(logging.Handler):
    def emit(self, record):
        if record.name == "service":
            # The reactor has something to say while who holds the lock of this handler waits for it.
            reactor_here().callFromThread(Logger("zmqrpc.test").warn, "said meanwhile")
            told.append(outcome(client.call, {}, "name"))
        else:
            told.append(record.getMessage())

told = []
client = client_of(transport_of(sys.argv[1]), timeout=10)
logging.basicConfig(level=logging.WARNING, handlers=[Sends()])
logging.getLogger("service").warning("begins")
until = time.monotonic() + 10
while len(told) < 2 and time.monotonic() < until:
    time.sleep(0.01)
print(json.dumps(told))
"""

STORE_IS_AWAY = """
from zmqrpc.oslo import listener

listener.READY_SECONDS = 0.2
transport = transport_of(sys.argv[1])
target = oslo_messaging.Target(topic="away", server="one")
server = oslo_messaging.get_rpc_server(transport, target, [object()], executor="threading")
logging.basicConfig(level=logging.WARNING, format="%(message)s")
print(json.dumps(outcome(server.start)))
"""

HELD_UP = f"""
STALL = {1.5 * STALL_SECONDS}
from zmqrpc.oslo.reactor import reactor_here

said = []

class Keeps(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())

def hold_up():
    time.sleep(STALL)

def have_it_held_up():
    reactor_here().in_turn(hold_up)

logging.basicConfig(level=logging.ERROR, handlers=[Keeps()])
transport = transport_of(sys.argv[1])
client = client_of(transport, timeout=20)
target = oslo_messaging.Target(topic="held", server="one")
oslo_messaging.get_rpc_server(transport, target, [object()], executor="threading").start()
client.call({{}}, "name")
thread = threading.Thread(target=have_it_held_up)
thread.start()
thread.join()
told = outcome(client.call, {{}}, "name")
until = time.monotonic() + 10
while not said and time.monotonic() < until:
    time.sleep(0.01)
print(json.dumps([told[0], said]))
"""

DROPPED = """
def open_now():
    names = []
    for entry in os.scandir("/proc/self/fd"):
        try:
            names.append(os.readlink(entry.path))
        except FileNotFoundError:
            # It was closed meanwhile.
            pass
    # SQLite keeps a descriptor of a file that is open elsewhere in the process, for the next who opens it.
    return len([name for name in names if "matchmaker" not in name])

kept = client_of(transport_of(sys.argv[1]))
kept.cast({}, "note", value=-1)
before, seen = open_now(), []
for number in range(10):
    client = client_of(transport_of(sys.argv[1]))
    client.cast({}, "note", value=2 * number)
    client.cast({}, "note", value=2 * number + 1)
    del client
    until = time.monotonic() + 10
    while open_now() > before and time.monotonic() < until:
        time.sleep(0.01)
    seen.append(open_now() - before)
print(json.dumps(seen))
"""

DROPPED_MEANWHILE = """
import signal
from zmqrpc.oslo import hosted

logging.basicConfig(handlers=[logging.NullHandler()])
hosted.CLOSE_SECONDS = 0.1
redis = int(sys.argv[2])
notifier = notifier_of(sys.argv[1])
notifier.info({}, "event", "before")
os.kill(redis, signal.SIGSTOP)
# It is looked up.
notifier.audit({}, "event", "meanwhile")
del notifier
time.sleep(20 * hosted.CLOSE_SECONDS)
os.kill(redis, signal.SIGCONT)
until = time.monotonic() + 10
while hosted._open and time.monotonic() < until:
    time.sleep(0.01)
print(json.dumps(len(hosted._open)))
"""

EXITS = """
import atexit

def last():
    from twisted.internet.defer import DeferredList
    from twisted.logger import Logger
    from zmqrpc.oslo import hosted
    from zmqrpc.oslo.reactor import reactor_here

    reactor, done = reactor_here(), threading.Event()
    begun, begin = [], threading.Thread.start

    def note(thread):
        begun.append(thread.name)
        begin(thread)

    def act():
        Logger("zmqrpc.test").warn("said at the end")
        reactor.getThreadPool().callInThread(used.set)
        # As where a transport is dropped.
        ends = [node.end(awaited=False) for node in list(hosted._open)]
        DeferredList(ends).addBoth(lambda _: done.set())
        told.append(len(ends))

    told, used, threading.Thread.start = [], threading.Event(), note
    reactor.callFromThread(act)
    print(json.dumps([used.wait(10), done.wait(10), *told, begun]))

logging.basicConfig(handlers=[logging.NullHandler()])
# It is called after what the driver does at the exit, since that is registered later.
atexit.register(last)
transport = transport_of(sys.argv[1])
client_of(transport, timeout=10).call({}, "name")
"""

IMPORTS = """
import builtins

transport = transport_of(sys.argv[1])
client = client_of(transport, timeout=10)
imported, load = [], builtins.__import__

def note(name, *more, **named):
    before = set(sys.modules)
    module = load(name, *more, **named)
    if threading.current_thread() is threading.main_thread() and set(sys.modules) - before:
        imported.extend(set(sys.modules) - before)
    return module

builtins.__import__ = note
client.call({}, "name")
target = oslo_messaging.Target(topic="t", server="s")
server = oslo_messaging.get_rpc_server(transport, target, [], executor="threading")
server.start()
server.stop()
print(json.dumps([name for name in imported if name.startswith("zmqrpc")]))
"""

LAST_WORDS = """
import atexit

sizes = [10, 300_000, 20_000]

# It is called after what the driver does at the exit, since that is loaded later.
@atexit.register
def last():
    print(json.dumps([client.call({}, "measure", text="x" * size) for size in sizes]))
    for number in range(10):
        client.cast({}, "measure", text="x" * sizes[0])
        notifier.info({}, "event", number)

client = client_of(transport_of(sys.argv[1]), timeout=10)
notifier = notifier_of(sys.argv[1])
for number in range(50):
    client.cast({}, "measure", text="x" * sizes[number % 3])
"""

LAST_IN_VAIN = """
import atexit

@atexit.register
def last():
    # A store that does not answer costs a second, however much there is to say.
    print(json.dumps(outcome(lambda: [notifier.info({}, "event", number) for number in range(10)])))

notifier = notifier_of(sys.argv[1])
notifier.info({}, "event", 0)
"""

NO_MORE_THREADS = """
import atexit

notifier = notifier_of(sys.argv[1])

# It is called before what the driver does at the exit, since that is loaded already.
@atexit.register
def last():
    def begin(thread):
        raise RuntimeError("can't start new thread")

    threading.Thread.start = begin

for number in range(20):
    notifier.info({}, "event", number)
print(json.dumps(None))
"""

MULTIPROCESSING = """
import multiprocessing

def work():
    for number in range(20):
        client.cast({}, "note", value=number)
        notifier.info({}, "event", number)

client, notifier = client_of(transport_of(sys.argv[1]), timeout=10), notifier_of(sys.argv[1])
told = [client.call({}, "name")]
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
print(json.dumps([*told, process.exitcode]))
"""

NO_THREAD = """
from zmqrpc.oslo.reactor import reactor_here

def begin(thread):
    raise RuntimeError("can't start new thread")

def fails():
    try:
        reactor_here()
    except RuntimeError:
        return len(os.listdir("/proc/self/fd"))

start, threading.Thread.start = threading.Thread.start, begin
opened = [fails() for _ in range(5)]
threading.Thread.start = start
print(json.dumps([opened[-1] - opened[0], client_of(transport_of(sys.argv[1]), timeout=10).call({}, "name")]))
"""

INTERRUPTED = """
from zmqrpc.oslo import driver, hosted, reactor

def until(condition):
    limit = time.monotonic() + 10
    while not condition() and time.monotonic() < limit:
        time.sleep(0.01)

def interrupt(module, name, act):
    # As a signal handler would that comes when something is made, and nobody can know of it yet.
    make = getattr(module, name)

    def interrupted(*arguments):
        made = make(*arguments)
        setattr(module, name, make)
        act()
        return made

    setattr(module, name, interrupted)

def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "zmqrpc"]

def call(client):
    told.append(client.call({}, "name"))
    used.append([reactor.reactor_here(), transport._driver._calling])

told, used = [], []
for module, name in ((reactor, "_begun"), (driver, "Calling")):
    transport = transport_of(sys.argv[1])
    client = client_of(transport, timeout=10)
    interrupt(module, name, lambda: call(client))
    call(client)
    told.append(used[0] == used[1] and used[0][0] is used[0][1].hosted.reactor)
    until(lambda: len(hosted._open) == 1 and len(threads()) == 1)
    told += [len(hosted._open), threads()]
    transport.cleanup()
    until(lambda: not hosted._open)
    told.append(len(hosted._open))
    used.clear()
print(json.dumps(told))
"""

STARTED = """
from zmqrpc.oslo.reactor import reactor_here

start = threading.Thread.start

def interrupted(thread):
    start(thread)
    raise KeyboardInterrupt

told, threading.Thread.start = [], interrupted
try:
    reactor_here()
except KeyboardInterrupt:
    told.append("interrupted")
threading.Thread.start = start
for thread in threading.enumerate():
    if thread.name == "zmqrpc":
        thread.join(10)
told.append(client_of(transport_of(sys.argv[1]), timeout=10).call({}, "name"))
told.append(len([each for each in threading.enumerate() if each.name == "zmqrpc"]))
print(json.dumps(told))
"""

IN_REACTOR = """
from twisted.internet import reactor
from zmqrpc import use_monotonic_clock
from zmqrpc.oslo import driver

use_monotonic_clock(reactor)
begins, told = driver.Calling, {}
client = client_of(transport_of(sys.argv[1]), timeout=10)

def begin(*arguments):
    # Another thread opens it now, and waits for the reactor then.
    driver.Calling = begins
    entered = threading.Event()
    reactor.callFromThread(notify, entered)
    # The reactor does not come to that where it waits for the lock, which this thread has.
    entered.wait(1)
    return begins(*arguments)

def notify(entered):
    reactor.callLater(0, entered.set)
    told["reactor"] = outcome(client.cast, {}, "note")

def work():
    told["thread"] = outcome(client.call, {}, "name")
    reactor.callFromThread(reactor.stop)

driver.Calling = begin
reactor.callWhenRunning(threading.Thread(target=work).start)
reactor.run()
print(json.dumps(told))
"""

PARTLY = """
from zmqrpc.oslo.reactor import reactor_here
from zmqrpc.unpatched import unpatched

turns, longest, sleep = 0, 0, unpatched("time").sleep

def turn():
    # A thread of the system: a busy machine gives no turn to either.
    global turns
    while True:
        sleep(0.01)
        turns += 1

def tick():
    global longest
    while True:
        before = turns
        eventlet.sleep(0.01)
        longest = max(longest, turns - before)

client = client_of(transport_of(sys.argv[1]), timeout=10)
answers = [client.call({}, "name")]
unpatched("threading").Thread(target=turn, daemon=True).start()
ticking = eventlet.spawn(tick)
calls = [threading.Thread(target=lambda: answers.append(client.call({}, "nap", seconds=1))) for _ in range(3)]
for call in calls:
    call.start()
for call in calls:
    call.join()
# It takes note of the last as well.
eventlet.sleep(0.1)
reactor = reactor_here()
print(json.dumps([answers, 0.01 * longest, type(reactor).__name__, type(reactor.getThreadPool()).__name__]))
"""


class HostedTests(OsloTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.environment["PYTHONWARNINGS"] = "ignore"
        self.server = self.child()
        self.server.do("serve", topic="hosted", server="one")

    def runs(self, program: str, *more: str) -> Any:
        ended = self.python("-c", dedent(program), self.url, *more)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return json.loads(ended.stdout)

    def test_reactor_ends(self) -> None:
        """What waits when the application ends its reactor is told at once; what comes later is refused."""
        told = self.runs(START + ENDED)
        self.assertEqual(told["before"][0], "one")
        self.assertRegex(told["during"][0], "^Messag")
        for name in ("after", "cast", "other"):
            self.assertRegex(told[name][0], "^RuntimeError: the reactor of the application has ended", name)
        for name in ("stop", "wait", "cleanup"):
            self.assertIsNone(told[name][0], name)
        self.assertLess(told.pop("during")[1], 6)
        for name, (_, seconds) in told.items():
            self.assertLess(seconds, 2, name)

    def test_reactor_begins_later(self) -> None:
        """An application's reactor that begins after the first use is one of its own, and may be held up by a call."""
        self.assertEqual(self.runs(START + LATER), dict.fromkeys(("before", "thread", "held", "after"), "one"))

    def test_interrupted(self) -> None:
        """Who comes in the midst of the first use, as a signal handler may, and who is interrupted have the same."""
        # The second has the reactor of the first.
        self.assertEqual(self.runs(START + INTERRUPTED), 2 * ["one", "one", True, 1, ["zmqrpc"], 0])

    def test_interrupted_at_the_start(self) -> None:
        """A thread of the reactor that nobody would use ends."""
        self.assertEqual(self.runs(START + STARTED), ["interrupted", "one", 1])

    def test_opened_in_the_reactor(self) -> None:
        """An application's reactor is refused its first use at once, and not held up, while a thread has its own."""
        told = self.runs(START + IN_REACTOR)
        self.assertIn("would wait for itself", told["reactor"][0])
        self.assertEqual(told["thread"][0], "one")
        for name, (_, seconds) in told.items():
            self.assertLess(seconds, 4, name)

    def test_partly_patched(self) -> None:
        """Threads are green where eventlet has patched these, whatever else it has: all go on while one waits."""
        for patched in ("os=False", "select=False", "os=False, select=False", "thread=True"):
            green = f"import eventlet; eventlet.monkey_patch({patched})\n"
            answers, longest, *kinds = self.runs(green + START + PARTLY)
            self.assertEqual((answers, kinds), (["one"] * 4, ["SelectReactor", "SystemPool"]), patched)
            self.assertLess(longest, 0.5, patched)

    def test_patched_but_threads(self) -> None:
        """Where it has patched something else only, threads are those of the system."""
        for patched in ("os=True", "socket=True", "thread=False"):
            green = f"import eventlet; eventlet.monkey_patch({patched})\n"
            answers, _, _, pool = self.runs(green + START + PARTLY)
            self.assertEqual((answers, pool), (["one"] * 4, "ThreadPool"), patched)

    def test_log_by_sending(self) -> None:
        """A handler of logging may send: the reactor does not wait for its lock."""
        for green in ("", GREEN):
            (answer, seconds), said = self.runs(green + START + LOGS)
            self.assertEqual((answer, said), ("one", "said meanwhile"))
            self.assertLess(seconds, 5)

    def test_store_is_away(self) -> None:
        """A server starts all the same, after the time that it waits to be found, and says so."""
        program = dedent(START + STORE_IS_AWAY)
        ended = self.python("-c", program, f"zmq+redis://127.0.0.1:{free_port()}?rpc_zmq_bind_address=127.0.0.1")
        self.assertEqual(ended.returncode, 0)
        told, seconds = json.loads(ended.stdout)
        self.assertIsNone(told)
        self.assertGreaterEqual(seconds, 0.2)
        self.assertLess(seconds, 4)
        self.assertRegex(ended.stderr, "tcp://127.0.0.1:[0-9]+ listens, and others cannot find it yet: ")

    def test_held_up(self) -> None:
        """Where the reactor is held up is told, be it in a thread that does its work."""
        answer, (said,) = self.runs(START + HELD_UP)
        self.assertEqual(answer, "one")
        self.assertIn("the reactor has been blocked for", said)
        self.assertIn("in hold_up", said)

    def test_exits(self) -> None:
        """The reactor begins no thread while the process exits: that may end it with SIGSEGV."""
        for cleanup, nodes in (("", 1), ("transport.cleanup()", 0)):
            self.assertEqual(self.runs(START + EXITS + cleanup), [True, True, nodes, []])

    def test_imports(self) -> None:
        """The first use of a transport loads nothing more: a signal handler that comes finds nothing half loaded."""
        self.assertEqual(self.runs(START + IMPORTS), [])

    def test_last_words(self) -> None:
        """However large it is, what a process has sent before it exits arrives, and what it sends while it does."""
        self.server.do("listen", topic="hosted", name="heard")
        for green in ("", GREEN):
            self.assertEqual(self.runs(green + START + LAST_WORDS), [10, 300_000, 20_000])
        heard = Counter(size for _, size in self.server.hears(126))
        self.assertEqual(heard, {10: 56, 300_000: 36, 20_000: 34})
        self.server.hears(20, "heard")

    def test_last_words_in_vain(self) -> None:
        """What a process sends while it exits is waited for, but not longer than a second where that is in vain."""
        redis = RedisServer(self)
        redis.stop_answering()
        ended = self.python("-c", dedent(START + LAST_IN_VAIN), f"{redis.url}?rpc_zmq_bind_address=127.0.0.1")
        self.assertEqual(ended.returncode, 0)
        _, seconds = json.loads(ended.stdout)
        self.assertLess(seconds, 4)

    def test_no_more_threads(self) -> None:
        """What a process has sent before it exits arrives where it can begin no thread."""
        self.url = self.redis_url()
        listener = self.child(url=self.url)
        listener.do("listen", topic="hosted", name="heard")
        self.runs(START + NO_MORE_THREADS)
        listener.hears(20, "heard")

    def test_multiprocessing(self) -> None:
        """A process of multiprocessing exits in its own way, and loses nothing of what it has sent."""
        self.server.do("listen", topic="hosted", name="heard")
        self.assertEqual(self.runs(START + MULTIPROCESSING), ["one", 0])
        self.server.hears(20)
        self.server.hears(20, "heard")

    def test_no_thread(self) -> None:
        """A first use that can begin no thread keeps nothing open, and the next one is another."""
        self.assertEqual(self.runs(START + NO_THREAD), [0, "one"])

    def test_dropped(self) -> None:
        """A transport that is dropped without a cleanup gives back what it has opened, and loses nothing."""
        for green in ("", GREEN):
            self.assertEqual(self.runs(green + START + DROPPED), [0] * 10)
        self.server.hears(42)

    def test_dropped_while_the_store_is_away(self) -> None:
        """What a transport has sent that is dropped has all of its time to arrive."""
        redis = RedisServer(self)
        self.url = f"{redis.url}?rpc_zmq_bind_address=127.0.0.1"
        listener = self.child(url=self.url)
        listener.do("listen", topic="hosted", name="heard")
        self.assertEqual(self.runs(START + DROPPED_MEANWHILE, str(redis.pid)), 0)
        self.assertCountEqual([told[4] for told in listener.hears(2, "heard")], ["before", "meanwhile"])
