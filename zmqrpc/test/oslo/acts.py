"""What a process of a test can do with oslo.messaging."""

from __future__ import annotations

import _socket
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from itertools import product
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_serialization import jsonutils

from zmqrpc.test.oslo.endpoints import Endpoint, Notices
from zmqrpc.test.oslo.values import VALUES, Context
from zmqrpc.unpatched import unpatched

TICK = 0.01


def in_main(act: Callable[..., Any]) -> Callable[..., Any]:
    """Have an act run in the thread that the process began with, since a fork has no other."""
    act.in_main = True  # type: ignore[attr-defined]
    return act


class Acts:
    """
    :param green: whether eventlet has patched the standard library.
    :param url: of the transports.
    :param path: of a file of configuration.
    :param allowed: modules whose exceptions are raised as they were: by name, or with = before it as objects.
    :param log: the file that each method that runs writes a line to.
    """

    def __init__(
        self,
        url: str,
        green: bool = False,
        path: str | None = None,
        allowed: list[str] | None = None,
        log: str | None = None,
    ) -> None:
        self.url = url
        self.executor = "eventlet" if green else "threading"
        self.allowed = allowed
        self.conf = cfg.CONF
        self.conf([], default_config_files=[path] if path else [])
        self.log = log
        self.transports: dict[tuple[str, str], Any] = {}
        self.servers: dict[str, Any] = {}
        self.heard_by: dict[str, list[Any]] = {"": []}
        self.gates: dict[str, threading.Event] = {}
        self.counts: dict[str, int] = {}
        self.turns = 0
        self.longest = 0.0

    def transport(self, kind: str = "rpc", url: str | None = None) -> Any:
        key = kind, url or self.url
        if key not in self.transports:
            get = getattr(oslo_messaging, f"get_{kind}_transport")
            self.transports[key] = get(self.conf, key[1], allowed_remote_exmods=self._allowed())
        return self.transports[key]

    def _allowed(self) -> list[Any] | None:
        # Services give modules, or their names.
        if self.allowed is None:
            return None
        return [import_module(name[1:]) if name[0] == "=" else name for name in self.allowed]

    def pid(self) -> int:
        return os.getpid()

    # Serving

    def serve(
        self,
        topic: str,
        server: str,
        exchange: str | None = None,
        namespace: str | None = None,
        version: str | None = None,
        url: str | None = None,
    ) -> None:
        """Start a server, which is known by its name from then on."""
        target = oslo_messaging.Target(topic=topic, server=server, exchange=exchange)
        endpoint = Endpoint(server, self.heard_by.setdefault("", []), self.log, self.gates)
        if namespace or version:
            endpoint.target = oslo_messaging.Target(namespace=namespace, version=version)
        made = oslo_messaging.get_rpc_server(self.transport(url=url), target, [endpoint], executor=self.executor)
        self.servers[server] = made
        made.start()

    def start_again(self, server: str) -> None:
        self.servers[server].start()

    def stop(self, server: str) -> None:
        self.servers[server].stop()

    def wait(self, server: str) -> None:
        self.servers[server].wait()

    def end(self, server: str) -> None:
        self.stop(server)
        self.wait(server)

    def heard(self, name: str = "") -> list[Any]:
        return self.heard_by.get(name, [])

    def heard_sizes(self, name: str) -> list[int]:
        """Return the sizes of the payloads that a listener has heard."""
        return [len(told[4]) for told in self.heard(name)]

    def collect(self) -> None:
        gc.collect()

    def open(self, gate: str) -> None:
        """Let the methods that wait for it go on."""
        self.gates.setdefault(gate, threading.Event()).set()

    # Calling

    def client(
        self,
        topic: str,
        server: str | None = None,
        fanout: bool | None = None,
        exchange: str | None = None,
        namespace: str | None = None,
        version: str | None = None,
        timeout: float | None = None,
        call_monitor_timeout: int | None = None,
        retry: int | None = None,
        at_least_once: bool | None = None,
        url: str | None = None,
    ) -> Any:
        target = oslo_messaging.Target(topic=topic, exchange=exchange)
        options = oslo_messaging.TransportOptions(at_least_once=True) if at_least_once else None
        client = oslo_messaging.get_rpc_client(
            self.transport(url=url),
            target,
            timeout=timeout,
            call_monitor_timeout=call_monitor_timeout,
            retry=retry,
            transport_options=options,
        )
        whom = {"server": server, "fanout": fanout, "namespace": namespace, "version": version}
        return client.prepare(**{name: value for name, value in whom.items() if value is not None})

    def call(self, topic: str, method: str, args: Any = None, context: Any = None, **whom: Any) -> Any:
        return self.client(topic, **whom).call(context or {}, method, **(args or {}))

    def cast(self, topic: str, method: str, args: Any = None, context: Any = None, **whom: Any) -> Any:
        return self.client(topic, **whom).cast(context or {}, method, **(args or {}))

    def seconds(self, what: str, **arguments: Any) -> list[Any]:
        """Do something; return for how long, and the error that it raised."""
        from zmqrpc.test.oslo.acting import about

        error = None
        began = time.monotonic()
        try:
            getattr(self, what)(**arguments)
        except Exception as raised:
            error = about(raised)
        return [time.monotonic() - began, error]

    def calls(self, topic: str, count: int, threads: int = 1, method: str = "pid", **whom: Any) -> dict[str, int]:
        """Call often, in several threads; return how often each answer, or error, came."""
        client = self.client(topic, **whom)
        counts: dict[str, int] = {}
        lock = threading.Lock()

        def call() -> None:
            for _ in range(count // threads):
                try:
                    answer = str(client.call({}, method))
                except Exception as error:
                    answer = type(error).__name__
                with lock:
                    counts[answer] = counts.get(answer, 0) + 1

        self.together(call, threads)
        return counts

    def timed(self, topic: str, count: int, threads: int) -> list[Any]:
        """Call often; return the answers, and the seconds that it took."""
        self.calls(topic, 1)
        began = time.monotonic()
        return [self.calls(topic, count, threads), time.monotonic() - began]

    def calls_until(self, topic: str, threads: int, gate: str, method: str = "pid", **whom: Any) -> dict[str, int]:
        """Call in several threads until a gate opens; return how often each answer, or error, came."""
        client = self.client(topic, **whom)
        goes = self.gates.setdefault(gate, threading.Event())

        def call() -> None:
            while not goes.is_set():
                try:
                    answer = str(client.call({}, method))
                except Exception as error:
                    answer = f"{type(error).__name__}: {error}"
                self.counts[answer] = self.counts.get(answer, 0) + 1

        self.together(call, threads)
        return self.counts

    def called(self) -> int:
        return sum(self.counts.values())

    def together(self, act: Callable[[], Any], threads: int) -> None:
        running = [threading.Thread(target=act) for _ in range(threads)]
        for each in running:
            each.start()
        for each in running:
            each.join()

    def call_until(self, topic: str, threads: int, gate: str, **whom: Any) -> dict[str, list[Any]]:
        """Call with a new number each time until a gate opens; return the numbers by outcome, and the most seconds."""
        client = self.client(topic, **whom)
        gone_on = self.gates.setdefault(gate, threading.Event())
        outcomes: dict[str, list[Any]] = {"seconds": [0.0]}
        lock = threading.Lock()
        numbers = iter(range(1_000_000))

        def call() -> None:
            while not gone_on.is_set():
                with lock:
                    number = next(numbers)
                began = time.monotonic()
                try:
                    outcome = client.call({}, "number", value=number)
                except Exception as error:
                    outcome = f"{type(error).__name__}: {error}"
                seconds = time.monotonic() - began
                with lock:
                    outcomes.setdefault(outcome, []).append(number)
                    outcomes["seconds"][0] = max(outcomes["seconds"][0], seconds)
                time.sleep(0.005)

        self.together(call, threads)
        return outcomes

    def carried(self, topic: str, context: bool = False) -> dict[str, str]:
        """
        Call with each of the values; return what was wrong with which.

        :param context: whether they are the context, and not an argument.
        """
        client = self.client(topic, timeout=5)
        wrong = {}
        for name, value in VALUES.items():
            holds = {"value": value, "twice": [value, {"again": value}]}
            try:
                expected, refused = jsonutils.loads(jsonutils.dumps(holds)), None
            except Exception as error:
                expected, refused = None, type(error)
            for ctxt in (holds, Context(holds)) if context else ({"user": "ada"},):
                try:
                    came = client.call(ctxt, "context", **({} if context else holds))
                except Exception as error:
                    if type(error) is not refused:
                        wrong[name] = repr(error)
                    continue
                wanted = [expected, {}] if context else [ctxt, expected]
                # As text, since NaN is not even itself.
                if refused or jsonutils.dumps(came, sort_keys=True) != jsonutils.dumps(wanted, sort_keys=True):
                    wrong[name] = f"{came} is not {wanted}, {refused}"
        return wrong

    def brought(self, topic: str) -> dict[str, str]:
        """Have each of the values returned by a method; return what was wrong with which."""
        client = self.client(topic, timeout=5)
        wrong = {}
        for name, value in VALUES.items():
            try:
                expected = jsonutils.dumps(jsonutils.loads(jsonutils.dumps(value)), sort_keys=True)
            except Exception as error:
                expected = type(error).__name__
            try:
                came = jsonutils.dumps(client.call({}, "bring", kind=name), sort_keys=True)
            except Exception as error:
                came = getattr(error, "exc_type", type(error).__name__)
            if came != expected:
                wrong[name] = f"{came} is not {expected}"
        return wrong

    def large(self, topic: str, sizes: list[int]) -> list[str]:
        """Send, and have sent back, texts of these sizes in every way there is; return what was wrong."""
        client, notifier = self.client(topic, timeout=10), self.notifier(topic)
        everybody = client.prepare(fanout=True)

        def error(size: int) -> str:
            try:
                return str(client.call({}, "fail_with", size=size))
            except ValueError as raised:
                return str(raised).partition("\n")[0]

        ways: dict[str, Callable[[int], bool]] = {
            "argument": lambda size: client.call({}, "measure", text="x" * size) == size,
            "result": lambda size: bool(client.call({}, "make", size=size) == "x" * size),
            "error": lambda size: error(size) == "x" * size,
            "cast": lambda size: client.cast({}, "measure", text="x" * size) is None,
            "fan-out": lambda size: everybody.cast({}, "measure", text="x" * size) is None,
            "notification": lambda size: notifier.info({}, "event", "x" * size) is None,
        }
        wrong = []
        for size, (way, carries) in product(sizes, ways.items()):
            try:
                why = "" if carries(size) else "it came otherwise"
            except Exception as raised:
                why = str(raised)[:200]
            if why:
                wrong.append(f"{way} of {size}: {why}")
        return wrong

    def slow_names(self, seconds: float) -> None:
        """Have each name that ends with ``.slow`` be this machine, after some time in the C library."""
        look_up = _socket.getaddrinfo
        sleep = unpatched("time").sleep

        def slow(host: Any, *arguments: Any) -> Any:
            if str(host).endswith(".slow"):
                sleep(seconds)
                host = "127.0.0.1"
            return look_up(host, *arguments)

        _socket.getaddrinfo = slow  # type: ignore[assignment]

    def tick(self) -> None:
        """
        Note from now on for how long other threads let this one not run.

        That is told by the turns of a thread of the operating system: a busy machine gives none to either.
        """
        sleep = unpatched("time").sleep

        def count() -> None:
            while True:
                sleep(TICK)
                self.turns += 1

        unpatched("threading").Thread(target=count, daemon=True).start()
        before = self.turns
        while True:
            time.sleep(TICK)
            now = self.turns
            self.longest = max(self.longest, (now - before) * TICK)
            before = now

    def longest_wait(self) -> float:
        """Return the most seconds between two ticks since this was asked last."""
        longest, self.longest = self.longest, 0.0
        return longest

    # Notifying

    def notify(
        self, topic: str, priority: str = "info", event: str = "event", payload: Any = None, context: Any = None
    ) -> None:
        """Notify; the context is a dict, or one in a list for an object that makes it."""
        made = Context(context[1]) if isinstance(context, list) else context
        getattr(self.notifier(topic), priority)(made or {}, event, payload)

    def notifier(self, topic: str, publisher: str = "publisher") -> Any:
        return oslo_messaging.Notifier(self.transport("notification"), publisher, driver="messagingv2", topics=[topic])

    def notify_often(self, topic: str, count: int) -> None:
        notifier = self.notifier(topic)
        for each in range(count):
            notifier.info({}, "event", each)

    def listen(
        self,
        topic: str,
        name: str,
        pool: str | None = None,
        exchange: str | None = None,
        batch_size: int | None = None,
        batch_timeout: float | None = None,
        refuses: int = 0,
        raises: bool = False,
    ) -> None:
        """
        Listen, and have what is heard under a name.

        :param refuses: how many are given back first.
        """
        heard = self.heard_by.setdefault(name, [])
        endpoint = Notices(heard, refuses, raises, batch_size is not None)
        get = (
            oslo_messaging.get_notification_listener
            if batch_size is None
            else oslo_messaging.get_batch_notification_listener
        )
        more = {} if batch_size is None else {"batch_size": batch_size, "batch_timeout": batch_timeout}
        listener = get(
            self.transport("notification"),
            [oslo_messaging.Target(topic=topic, exchange=exchange)],
            [endpoint],
            executor=self.executor,
            allow_requeue=True,
            pool=pool,
            **more,
        )
        self.servers[name] = listener
        listener.start()

    def hear_raw(self, topic: str, priority: str, name: str) -> None:
        """Listen as `oslo_messaging.notify.listener` does; have context and message of each heard under a name."""
        heard = self.heard_by.setdefault(name, [])

        def hear(batch: list[Any]) -> None:
            for incoming in batch:
                heard.append([incoming.ctxt, incoming.message])
                incoming.acknowledge()

        driver = self.transport("notification")._driver
        pair = oslo_messaging.Target(topic=topic), priority
        self.servers[name] = listener = driver.listen_for_notifications({pair}, None, 1, None)
        listener.start(hear)

    def send_raw(self, topic: str, message: Any, context: dict[str, Any], version: float) -> None:
        """Send what no notifier would."""
        driver = self.transport("notification")._driver
        driver.send_notification(oslo_messaging.Target(topic=topic), context, message, version, retry=None)

    def last_words(self, topic: str, count: int) -> None:
        client, notifier = self.client(topic), self.notifier(topic)
        for each in range(count):
            client.cast({}, "note", value=each)
            notifier.info({}, "event", each)

    # The process

    def construct(self, count: int) -> list[list[str]]:
        """Make transports, and clean half of them up; return the threads and descriptors that this has cost."""
        before = self.threads(), self.descriptors()
        for each in range(count):
            made = oslo_messaging.get_rpc_transport(self.conf, self.url)
            self.transports["rpc", str(each)] = made
            if each % 2:
                made.cleanup()
        after = self.threads(), self.descriptors()
        return [sorted(set(now) - set(then)) for then, now in zip(before, after, strict=True)]

    def has_reactor(self) -> bool:
        """Tell whether the process has a reactor of Twisted installed, which would be the application's affair."""
        return "twisted.internet.reactor" in sys.modules

    def descriptors(self) -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/self/fd/{number}"))
        return sorted(name for name in found if not name.startswith("/proc/"))

    @in_main
    def belongs_to_service(self, set_up: bool = False) -> dict[str, Any]:
        """Return what belongs to the service; set it up before."""
        if set_up:
            self._wakes = os.pipe()
            os.set_blocking(self._wakes[1], False)
            signal.set_wakeup_fd(self._wakes[1])
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._stack_size()
        wakes = signal.set_wakeup_fd(self._wakes[1])
        stack = self._stack_size()
        return {
            "handlers": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
            "wakes": wakes == self._wakes[1],
            "stack": stack,
        }

    def _stack_size(self) -> int:
        """Set the size of the stacks of threads, and return what it was."""
        if self.executor == "threading":
            return threading.stack_size(128 * 1024)
        # That of eventlet makes none smaller.
        from eventlet.patcher import original

        size: int = original("threading").stack_size(128 * 1024)
        return size

    def log_to_list(self) -> None:
        """Keep what is logged from now on, and handle it nowhere else."""
        logged = self.heard_by.setdefault("logged", [])

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                logged.append([record.name, record.levelname, record.getMessage()])

        logging.basicConfig(level=logging.WARNING, handlers=[Keep()])

    def logged(self) -> list[Any]:
        return self.heard("logged")

    # The end

    def cleanup(self, kind: str = "rpc", url: str | None = None) -> None:
        self.transport(kind, url).cleanup()

    def threads(self) -> list[str]:
        """Return the threads of Python, and those of the operating system."""
        return sorted([*(thread.name for thread in threading.enumerate()), *os.listdir("/proc/self/task")])

    # Forking

    @in_main
    def fork_and_call(self, topic: str, forks: int, calls: int, threads: int = 1) -> list[Any]:
        """Fork; return what each fork, and then the parent, was answered, and the seconds that this took."""
        return [*self.in_forks(forks, lambda: self._timed(topic, calls, threads)), self._timed(topic, calls, threads)]

    @in_main
    def fork_and_send_large(self, topic: str, sizes: list[int]) -> list[list[str]]:
        """Send what is `large`, here and then in a fork and here; return what was wrong."""
        return [self.large(topic, sizes), *self.in_forks(1, lambda: self.large(topic, sizes)), self.large(topic, sizes)]

    def _timed(self, topic: str, calls: int, threads: int) -> list[Any]:
        began = time.monotonic()
        counts = self.calls(topic, calls, threads, timeout=10)
        return [counts, time.monotonic() - began]

    def in_forks(self, count: int, act: Callable[[], Any]) -> list[Any]:
        """Have forks do something at the same time; return what each returned."""
        import json

        pipes = []
        for _ in range(count):
            read, write = os.pipe()
            if os.fork() == 0:
                self._be_fork()
                status = 9
                try:
                    os.write(write, json.dumps(act()).encode())
                    status = 0
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(status)
            os.close(write)
            pipes.append(read)
        outcomes = []
        for read in pipes:
            text = b""
            while more := self._read(read):
                text += more
            os.close(read)
            outcomes.append(json.loads(text or b"null"))
        for _ in pipes:
            os.wait()
        return outcomes

    def _be_fork(self) -> None:
        os.close(0)
        if self.executor == "eventlet" and not self.transports:
            # As oslo.service does in each of its workers; where the driver was used, that has done it.
            from eventlet.hubs import use_hub

            use_hub()

    def _read(self, descriptor: int) -> bytes:
        if self.executor == "eventlet":
            from eventlet.hubs import trampoline

            trampoline(descriptor, read=True)
        return os.read(descriptor, 1 << 16)

    @in_main
    def fork_and_clean_up(self, topic: str) -> list[Any]:
        """Clean up in a fork, where nothing of the transport is, before it is used there and after."""

        def act() -> Any:
            self.cleanup()
            answer = self.call(topic, "name", timeout=10)
            self.cleanup()
            return answer

        return [*self.in_forks(1, act), self.call(topic, "name", timeout=10)]

    @in_main
    def fork_workers(self, topic: str, count: int, server: str = "worker") -> list[int]:
        """Have forks serve a topic, as the workers of a service do, until SIGTERM; return their pids."""
        pids = []
        for each in range(count):
            pid = os.fork()
            if pid == 0:
                self._be_fork()
                self._work(topic, f"{server}{each}")
            pids.append(pid)
        return pids

    def _work(self, topic: str, server: str) -> None:
        status = 9
        try:
            parent = os.getppid()
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            self.serve(topic, server)
            try:
                while os.getppid() == parent:
                    time.sleep(0.5)
            except SystemExit:
                self.end(server)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    @in_main
    def kill_worker(self, pid: int, number: int) -> None:
        os.kill(pid, number)
        os.waitpid(pid, 0)

    @in_main
    def end_workers(self, pids: list[int]) -> list[int]:
        """End forks; return their statuses."""
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
