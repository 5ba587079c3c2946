"""
Runs tests of oslo.messaging's functional suite, and ours, one after the other: ``python -P suite_child.py EXECUTOR``.

It is run by its path, in a process of its own: it patches oslo.messaging, and with eventlet the standard library,
before anything of zmqrpc is there, as in a service. It writes the ids of all tests as one line of JSON, then reads ids,
one a line, and answers each with a line: id, outcome (``passed``, ``skipped``, ``failed``), seconds, and a text.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import os
import sys
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

OURS = "zmqrpc.test.oslo.guarded"
DUMP_SECONDS = 100.0
"""After which a test that still runs has the stacks of all threads written; who runs this process ends it then."""

START_SECONDS = 30.0
"""Within which a process that a test starts has started, on a machine that is busy."""


def main() -> None:
    """Run what is asked for until nobody asks."""
    executor = os.environ["ZMQRPC_SUITE_EXECUTOR"] = sys.argv[1]
    # What tests print is none of our answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepare(executor)
    tests = {test.id(): test for test in load()}
    tell(answers, list(tests))
    for line in sys.stdin:
        name = line.strip()
        faulthandler.dump_traceback_later(DUMP_SECONDS)
        tell(answers, [name, *run(tests[name])])
        faulthandler.cancel_dump_traceback_later()


def prepare(executor: str) -> None:
    """Have the suite of oslo.messaging take our URL, and run its servers with this executor."""
    if executor == "threading":
        use_threads()
    # The suite asks for eventlet's patches itself, before all else.
    import oslo_messaging.tests  # noqa: F401
    from oslo_messaging._drivers.kafka_driver import kafka_options

    keep_metrics_private()
    # Each test has the options of Kafka registered, which refuse the query of any URL but Kafka's own: as
    # "no such option zmq_topology in group [oslo_messaging_kafka]". It is a defect of the suite; only Kafka needs them.
    kafka_options.register_opts = lambda conf, url: None


def use_threads() -> None:
    """Run servers in threads; the suite knows eventlet only: it patches when imported, and names its executor."""
    import eventlet

    eventlet.monkey_patch = lambda **_: None
    from oslo_messaging.server import MessageHandlingServer

    made = MessageHandlingServer.__init__

    def make(self: Any, transport: Any, dispatcher: Any, executor: Any = None) -> None:
        made(self, transport, dispatcher, "threading")

    MessageHandlingServer.__init__ = make


def keep_metrics_private() -> None:
    """Give the test of metrics a port and a socket of its own: it has one of each, on all machines the same."""
    import requests
    from oslo_messaging.tests.functional import test_functional

    case = getattr(test_functional, "MetricsTestCase", None)
    if case is None:
        return
    config = case.config

    def configure(self: Any, **options: Any) -> None:
        if "metrics_socket_file" in options:
            options["metrics_socket_file"] = os.environ["OS_OSLO_METRICS__METRICS_SOCKET_FILE"]
        config(self, **options)

    def get(url: str, timeout: float = START_SECONDS) -> Any:
        own = url.replace(":3000", f":{os.environ['OS_OSLO_METRICS__PROMETHEUS_PORT']}")
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                return requests.get(own, timeout=timeout)
            except requests.ConnectionError:
                # The test gives the process that answers a second to start.
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    case.config = configure
    test_functional.requests = SimpleNamespace(get=get)


def load() -> Iterator[Any]:
    """Find the functional tests of oslo.messaging, and ours."""
    specification = importlib.util.find_spec("oslo_messaging")
    assert specification is not None and specification.submodule_search_locations
    package = Path(specification.submodule_search_locations[0])
    loader = unittest.TestLoader()
    yield from flat(loader.discover(str(package / "tests" / "functional"), top_level_dir=str(package.parent)))
    yield from flat(loader.loadTestsFromName(OURS))


def flat(tests: Any) -> Iterator[Any]:
    """List the tests of a suite of suites."""
    if isinstance(tests, unittest.TestSuite):
        for each in tests:
            yield from flat(each)
    else:
        yield tests


def run(test: Any) -> tuple[str, float, str]:
    """Run a test; return its outcome, seconds, and why it was skipped or what it says of its failure."""
    result = unittest.TestResult()
    began = time.monotonic()
    test.run(result)
    seconds = time.monotonic() - began
    if not result.wasSuccessful():
        told = [text for _, text in [*result.errors, *result.failures]]
        return "failed", seconds, "\n".join(told) or "it was expected to fail, and did not"
    if result.skipped:
        return "skipped", seconds, "\n".join(reason for _, reason in result.skipped)
    return "passed", seconds, ""


def tell(answers: IO[str], what: Any) -> None:
    """Write one line."""
    answers.write(f"{json.dumps(what)}\n")
    answers.flush()


if __name__ == "__main__":
    main()
