"""
The demonstration: two RPC servers in processes of their own, and a client that calls, casts and fans out to them.

`make demo` runs it. Everything it makes is in a temporary directory, which it removes.
"""

import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning

from zmqrpc import Target, connect, use_monotonic_clock
from zmqrpc.errors import ZmqRpcError

CHECKOUT = Path(__file__).parents[2]
CALC = Target("calc")
MEMBERS = ("node-1", "node-2")
START_SECONDS = 20
STOP_SECONDS = 10


class Wrong(Exception):
    """Something was not as it should be; the text says what."""


def check(holds, text):
    if not holds:
        raise Wrong(text)


class Server:
    """An RPC server, run by `twistd`."""

    def __init__(self, member, url, directory):
        self.member = member
        self.log = directory / f"{member}.log"
        options = ["--app", "examples.demo.calc:Calc", "--topic", "calc", "--server", member, "--url", url]
        twistd = Path(sys.executable).with_name("twistd")
        command = [twistd, "--nodaemon", "--pidfile=", "zmq-rpc-server", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)

    async def stop(self):
        """Ask it to stop; it withdraws, finishes what it runs, and exits."""
        self.process.send_signal(signal.SIGTERM)
        give_up = time.monotonic() + STOP_SECONDS
        while (status := self.process.poll()) is None:
            check(time.monotonic() < give_up, f"{self.member} did not stop within {STOP_SECONDS} s")
            await sleep(0.02)
        # twistd ends itself with the signal that stopped it, after it has cleaned up.
        check(status in (0, -signal.SIGTERM), f"{self.member} exited with status {status}")
        check("stopped" in self.text(), f"{self.member} did not say that it stopped")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def text(self):
        return self.log.read_text(errors="replace")


def sleep(seconds):
    waiter = Deferred()
    reactor.callLater(seconds, waiter.callback, None)
    return waiter


async def both_listen(client, servers):
    """Wait until both members can be found."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        members = sorted(member for member, instance in await client.members(CALC))
        if members == list(MEMBERS):
            return
        for server in servers:
            check(server.process.poll() is None, f"{server.member} ended too soon")
        check(time.monotonic() < give_up, f"after {START_SECONDS} s only {members or 'nobody'} can be found")
        await sleep(0.05)


async def talk(client, servers):
    pids = {server.process.pid: server.member for server in servers}

    print("\nCalls to the topic: its members take turns")
    answered = []
    for a, b in ((1, 2), (3, 4), (5, 6), (7, 8)):
        answer = await client.call(CALC, "add", {"a": a, "b": b}, timeout=5)
        check(answer["sum"] == a + b, f"{a} + {b} was answered with {answer}")
        check(answer["pid"] in pids, f"process {answer['pid']} answered, which is no server of ours")
        answered.append(pids[answer["pid"]])
        print(f"  calc         add {a} {b}        -> {answer['sum']:<4} from {answered[-1]}")
    check(sorted(answered[:2]) == list(MEMBERS), f"the members did not take turns: {answered}")
    check(answered[:2] == answered[2:], f"the members did not take turns: {answered}")

    print("\nCalls to one member")
    for member in MEMBERS:
        answer = await client.call(Target("calc", server=member), "add", {"a": 20, "b": 22}, timeout=5)
        check(answer["sum"] == 42, f"20 + 22 was answered with {answer}")
        check(pids.get(answer["pid"]) == member, f"{member} was called, and process {answer['pid']} answered")
        print(f"  calc.{member}  add 20 22      -> {answer['sum']:<4} from {member}")

    print("\nA method that raises")
    try:
        await client.call(CALC, "divide", {"a": 1, "b": 0}, timeout=5)
    except ZmqRpcError as error:
        check(getattr(error, "type_name", None) == "ZeroDivisionError", f"1 / 0 failed with {error!r}")
        print(f"  calc         divide 1 0     -> {error.type_name}: {error.message}")
    else:
        raise Wrong("1 / 0 was answered")

    print("\nA cast: one member takes it, and no answer is awaited")
    await client.cast(Target("calc", server="node-1"), "note", {"text": "cast"}, timeout=5)
    print("  calc.node-1  note 'cast'    -> acknowledged")

    print("\nA fan-out: every member takes it")
    reached = await client.fanout(CALC, "note", {"text": "fan-out"}, timeout=5)
    members = sorted(member for member, instance in reached.members)
    check(members == list(MEMBERS) and not reached.missing, f"the fan-out reached {reached}")
    print(f"  calc         note 'fan-out' -> reached {' and '.join(members)}")

    print("\nWhat the members have noted")
    for member, expected in (("node-1", ["cast", "fan-out"]), ("node-2", ["fan-out"])):
        notes = await client.call(Target("calc", server=member), "list_notes", timeout=5)
        check(notes == expected, f"{member} has noted {notes} and not {expected}")
        print(f"  calc.{member}  list_notes     -> {', '.join(notes)}")


async def demonstrate(directory, servers):
    url = f"zmq+sqlite://{directory}/matchmaker.db"
    started = time.monotonic()
    print(f"The matchmaker is a file:   {url}")
    for member in MEMBERS:
        servers.append(Server(member, url, directory))
        print(f"A server in its own process: calc.{member}, process {servers[-1].process.pid}, run by twistd")
    client = await connect(reactor, url)
    try:
        await both_listen(client, servers)
        await talk(client, servers)
        print("\nSIGTERM: each server withdraws, finishes what it runs, and exits")
        for server in servers:
            await server.stop()
            print(f"  calc.{server.member}  stopped")
    finally:
        await client.close()
    # A client that remembers nothing asks the file.
    client = await connect(reactor, url)
    try:
        left = await client.members(CALC)
    finally:
        await client.close()
    check(left == [], f"still recorded are {left}")
    print(f"\nAll answers were right. It took {time.monotonic() - started:.1f} s.")


async def run():
    servers = []
    with tempfile.TemporaryDirectory(prefix="zmqrpc-demo-") as name:
        try:
            await demonstrate(Path(name), servers)
        except Exception as error:
            text = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
            print(f"\nThe demonstration failed: {text}", file=sys.stderr)
            for server in servers:
                print(f"\nThe log of {server.member}:\n{server.text()}", file=sys.stderr)
            return 1
        finally:
            for server in servers:
                server.kill()
    return 0


def main():
    use_monotonic_clock(reactor)
    statuses = []

    async def run_once():
        statuses.append(await run())
        with suppress(ReactorNotRunning):  # it is stopping already after Ctrl-C
            reactor.stop()

    def start():
        running = Deferred.fromCoroutine(run_once())

        def clean_up():
            """Have Ctrl-C and SIGTERM end the servers too."""
            running.cancel()
            return running

        reactor.addSystemEventTrigger("before", "shutdown", clean_up)

    reactor.callWhenRunning(start)
    reactor.run()
    return statuses[0] if statuses else 1


if __name__ == "__main__":
    sys.exit(main())
