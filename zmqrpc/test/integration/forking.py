"""
A process that serves and calls itself, and forks within its methods: ``python -m zmqrpc.test.integration.forking URL``.

With ``client`` before the URL it is what a child of it may be: an interpreter of its own, with a node of its own.
"""

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zmqrpc import Node, Settings, Target, connect, expose
from zmqrpc.errors import ConfigError
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.test.integration.support import eventually, pause, print_outcome, reactor

FORKS, LOOPBACK = Target("forks"), "127.0.0.1"
SELF = [sys.executable, "-m", "zmqrpc.test.integration.forking"]
DESCRIPTORS = """
import os
for name in os.listdir("/proc/self/fd"):
    try:
        print(name, os.readlink(f"/proc/self/fd/{name}"))
    except FileNotFoundError:
        pass
"""


def in_fork(act):
    """Do something in a fork; return what it returns, as JSON, and the status with which the fork ends."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        status = 9
        try:
            os.write(write, json.dumps(act()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read()
    return json.loads(text or "null"), os.waitpid(pid, 0)[1]


class Forking:
    """Methods that fork, each in another way."""

    def __init__(self) -> None:
        self.server: Any = None
        self.caller: Any = None
        self.client: Any = None
        self.notifier: Any = None
        self.proxy: Any = None
        self.pending: Any = None
        self.cancelled = 0
        self.forks: list[int] = []

    @expose
    def echo(self, context, value):
        return value

    @expose
    def never(self, context):
        return Deferred().addErrback(self._is_cancelled)

    def _is_cancelled(self, failure):
        failure.trap(CancelledError)
        self.cancelled += 1
        return failure

    @expose
    def use(self, context):
        return in_fork(self.use_all)

    @expose(thread=True)
    def use_in_multiprocessing(self, context):
        forking = multiprocessing.get_context("fork")
        ours, its = forking.Pipe()
        process = forking.Process(target=lambda: its.send(self.use_all()))
        process.start()
        result = ours.recv()
        process.join()
        return [result, process.exitcode]

    def use_all(self):
        """Try everything that a node, its client and its notifier can do; return how each failed."""
        client, server, outcomes = self.client, self.server, {}

        def refused(name, act, *arguments):
            outcomes[name] = "it did not fail"
            try:
                result = act(*arguments)
            except ConfigError as error:
                outcomes[name] = str(error)
                return
            if isinstance(result, Deferred):
                outcomes[name] = "it has not ended"
                result.addErrback(
                    lambda failure: outcomes.update({name: str(failure.trap(ConfigError) and failure.value)})
                )

        for kind in ("call", "cast", "fanout", "call_each"):
            for target in (FORKS, Target("forks", server="one"), Target("unknown")):
                refused(f"{kind} {target}", getattr(client, kind), target, "echo", {"value": 1})
        refused("stub", client.stub(FORKS).never)
        refused("members", client.members, FORKS)
        refused("watch", client.watch, FORKS, print)
        refused("prepare", client.prepare, FORKS)
        refused("acknowledge", client.acknowledge, FORKS)
        refused("neg_acknowledge", client.neg_acknowledge, FORKS, "ill")
        refused("info", self.notifier.info, {}, "forked", 1)
        refused("client", server.client)
        refused("server", server.server, Target("other", server="one"), [self])
        refused("listener", server.listener, [Target("other")], [self])
        refused("notifier", server.notifier, "publisher", ["other"])
        refused("startService", server.startService)
        refused("stopService", server.stopService)
        refused("stopService of the proxy", self.proxy.stopService)
        refused("startService of the proxy", self.proxy.startService)
        # Of what it has inherited nothing reaches anybody.
        self.pending.addErrback(lambda failure: failure.trap(CancelledError))
        self.pending.cancel()
        gc.collect()
        return outcomes

    @expose
    def come_back(self, context):
        self.forks.append(os.fork())
        return os.getpid()

    @expose
    async def come_back_later(self, context):
        await pause(0.01)
        self.forks.append(os.fork())
        return os.getpid()

    @expose
    def come_back_from_a_timer(self, context):
        done: Deferred[int] = Deferred()

        def fork():
            self.forks.append(os.fork())
            reactor.callLater(0, lambda: done.callback(os.getpid()))

        reactor.callLater(0, fork)
        return done

    @expose(thread=True)
    def come_back_from_a_thread(self, context):
        self.forks.append(os.fork())
        return os.getpid()

    @expose
    def exit(self, context):
        pid = os.fork()
        if not pid:
            sys.exit(3)
        self.forks.append(pid)
        return os.getpid()

    @expose
    async def exit_later(self, context):
        await pause(0.01)
        pid = os.fork()
        if not pid:
            sys.exit("not like this")
        self.forks.append(pid)
        return os.getpid()

    @expose(thread=True)
    def exit_from_a_thread(self, context):
        pid = os.fork()
        if not pid:
            sys.exit(0)
        self.forks.append(pid)
        return os.getpid()

    @expose(thread=True)
    def run(self, context, url):
        child = subprocess.run([*SELF, "client", url], capture_output=True, text=True, check=False, timeout=30)
        return [child.stdout, child.stderr]

    @expose(thread=True)
    def descriptors(self, context):
        code = [sys.executable, "-c", DESCRIPTORS]
        child = subprocess.run(code, capture_output=True, text=True, check=True, timeout=30, close_fds=False)
        return child.stdout.splitlines()


async def serve(url):
    """Do everything, and tell how it went."""
    forking = Forking()
    settings = Settings.from_url(url, rpc_zmq_bind_address=LOOPBACK, drain_timeout=1)
    server = forking.server = Node(reactor, settings)
    server.server(Target("forks", server="one"), [forking])
    caller = forking.caller = Node(reactor, url)
    client = forking.client = caller.client()
    forking.notifier = caller.notifier("publisher", ["forks"])
    proxy = forking.proxy = ProxyNode(reactor, Settings.from_url(url, proxy_host=LOOPBACK))
    for node in (server, caller, proxy):
        node.startService()
    await server.when_ready()
    await proxy.when_ready()
    outcome: dict[str, Any] = {"before": await calls(client)}
    for method in ("use", "use_in_multiprocessing"):
        forking.pending = client.call(FORKS, "never", timeout=30)
        await eventually("it runs", lambda: server._callers.requests.running == 1)
        outcome[method] = await client.call(FORKS, method, timeout=20)
        outcome[f"{method}: cancelled"] = forking.cancelled
        forking.pending.addErrback(lambda failure: failure.trap(CancelledError))
        forking.pending.cancel()
        await eventually("it is cancelled", lambda: forking.cancelled)
        forking.cancelled = 0
    for method in (
        *("come_back", "come_back_later", "come_back_from_a_timer", "come_back_from_a_thread"),
        *("exit", "exit_later", "exit_from_a_thread"),
    ):
        ours = await client.call(FORKS, method, timeout=5) == os.getpid()
        fork = forking.forks.pop()
        _, status = await eventually("the fork ends", lambda fork=fork: found(os.waitpid(fork, os.WNOHANG)))
        outcome[method] = [ours, os.waitstatus_to_exitcode(status)]
    outcome["run"] = await client.call(FORKS, "run", {"url": url}, timeout=30)
    outcome["descriptors"] = await client.call(FORKS, "descriptors", timeout=30)
    outcome["after"] = await calls(client)
    # Asks the store.
    fresh = await connect(reactor, url)
    outcome["fresh"] = await fresh.call(FORKS, "echo", {"value": "fresh"}, timeout=5)
    outcome["members"] = len(await fresh.members(FORKS))
    await fresh.close()
    for node in (caller, server, proxy):
        await node.stopService()
    return outcome


def found(waited):
    return waited if waited[0] else None


async def calls(client):
    """Return how many of a hundred calls are answered."""
    return sum([await client.call(FORKS, "echo", {"value": each}, timeout=5) == each for each in range(100)])


async def call(url):
    client = await connect(reactor, url)
    answer = await client.call(FORKS, "echo", {"value": "from a child"}, timeout=5)
    await client.close()
    return {"answer": answer}


if __name__ == "__main__":
    # It waits for its store without end.
    signal.alarm(100)
    sys.exit(print_outcome(lambda: call(sys.argv[2]) if sys.argv[1] == "client" else serve(sys.argv[1])))
