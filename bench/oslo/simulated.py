"""
Run upstream's simulator as it is, and count the messages where it counts them itself.

Its own counts are by whole seconds, some of which are longer than others, and the last of which it may leave out. Here
each message counts as it comes, with the time of the first and of the last, and what is counted stands in a file while
the simulator runs: nothing is lost with it when it does not end, which it sometimes does not.

    python -m bench.oslo.simulated SIMULATOR COUNTS WORDS...

The words are the simulator's. After ``both`` there are the words of its client, and the server runs in this process
too, which ``fake://`` needs.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import argparse  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from types import ModuleType  # noqa: E402
from typing import Any  # noqa: E402

LOOK = 0.1
"""Seconds from one writing of the counts to the next."""
WIDTH = 1000
NONE = (0, 0, 0.0, 0.0, 0.0, 0.0)
"""What a kind begins with: the fields of `bench.oslo.report.Tally`."""
QUIET = 8.0
"""Seconds without a message after which none is expected any more."""


class Counts:
    """How many messages there were of each kind, and how many of them were different; in a file, by and by."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.kinds: dict[str, list[Any]] = {}
        self.different: dict[str, set[float]] = {}

    def write(self, *more: str) -> None:
        for kind in more:
            self.kinds[kind] = list(NONE)
        for kind, seen in self.different.items():
            tally = self.kinds[kind]
            if tally[1] != len(seen):
                tally[1], tally[5] = len(seen), time.process_time()
        # One write of one length: a reader has all of it, or what was before.
        os.pwrite(self._file, json.dumps(self.kinds).ljust(WIDTH).encode(), 0)

    def keep_writing(self) -> None:
        while True:
            eventlet.sleep(LOOK)
            self.write()


def _load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulator", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulator"] = module
    spec.loader.exec_module(module)
    return module


def _count(simulator: Any, counts: Counts) -> None:
    """Have each message counted, and have it said when the server listens."""
    monotonic = time.monotonic

    class Collector(simulator.MessageStatsCollector):  # type: ignore[misc]
        def __init__(self, label: str) -> None:
            kind = label.partition("-")[0]
            self._tally = counts.kinds.setdefault(kind, list(NONE))
            self._seen = counts.different.setdefault(kind, set())
            super().__init__(label)

        def push(self, parsed_message: Any) -> None:
            tally = self._tally
            tally[0] += 1
            tally[3] = now = monotonic()
            if not tally[2]:
                tally[2], tally[4] = now, time.process_time()
            self._seen.add(parsed_message[2])  # when the client made it: no two have the same time
            super().push(parsed_message)

    simulator.MessageStatsCollector = Collector
    run_server = simulator.run_server

    def telling(server: Any, duration: int | None = None) -> None:
        start = server.start

        def start_and_tell() -> None:
            start()
            counts.write("ready")

        server.start = start_and_tell
        run_server(server, duration=duration)

    simulator.run_server = telling


def _both(simulator: Any, counts: Counts, words: list[str]) -> None:
    """Do what the simulator's `main` does for a client and for a server, in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("-tp")
    parser.add_argument("-tg")
    parser.add_argument("-l", type=int)
    parser.add_argument("server")
    parser.add_argument("client")
    parser.add_argument("-p", type=int)
    parser.add_argument("--timeout", type=int)
    parser.add_argument("--is-cast", action="store_true")
    parser.add_argument("--is-fanout", action="store_true")
    asked = parser.parse_args(words)
    simulator._setup_logging(is_debug=False)
    make = simulator.messaging
    rpc = asked.server == "rpc-server"
    # The simulator's own TRANSPORT stays None: its client would clean it up, with all that the server has not had yet.
    transport = (make.get_transport if rpc else make.get_notification_transport)(simulator.cfg.CONF, url=asked.url)
    topic, _, server = asked.tg.partition(".")
    simulator.generate_messages(simulator.MESSAGES_LIMIT)
    if rpc:
        eventlet.spawn(simulator.rpc_server, transport, make.Target(topic=topic, server=server), -1, "eventlet", None)
    else:
        serve = {"notify-server": simulator.notify_server, "batch-notify-server": simulator.batch_notify_server}
        eventlet.spawn(serve[asked.server], transport, asked.tp, -1, None, False)
    while "ready" not in counts.kinds:
        eventlet.sleep(LOOK)
    if rpc:
        targets = [make.Target(topic=topic, server=server, fanout=asked.is_fanout)]
        simulator.spawn_rpc_clients(asked.p, transport, targets, -1, asked.timeout, asked.is_cast, 1, asked.l, None)
    else:
        simulator.spawn_notify_clients(asked.p, asked.tp, transport, 1, -1, asked.timeout, asked.l)
    sent, received = counts.kinds["client"], counts.kinds["server"]
    while received[0] < sent[0] and time.monotonic() < received[3] + QUIET:
        eventlet.sleep(LOOK)


def main(argv: list[str]) -> None:
    path, counted, *words = argv
    counts = Counts(counted)
    simulator: Any = _load(path)
    simulator.CURRENT_PID, simulator.CURRENT_HOST = os.getpid(), "bench"
    _count(simulator, counts)
    eventlet.spawn(counts.keep_writing)
    try:
        if words[0] == "both":
            _both(simulator, counts, words[1:])
        else:
            sys.argv[1:] = words
            simulator.main()
    finally:
        counts.write("done")


if __name__ == "__main__":
    main(sys.argv[1:])
