"""What ``--log-file`` and ``--log-format`` write, SIGHUP, and that everything we log can be written."""

from __future__ import annotations

import ast
import json
import os
import signal
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from string import Formatter
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel, formatEventAsClassicLogText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

import zmqrpc
from zmqrpc.errors import ConfigError
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._on_signal import OnSignal
from zmqrpc.tap.log import json_line


class Odd:
    def __str__(self):
        raise ZeroDivisionError


class JsonLineTests(SynchronousTestCase):
    def line(self, **fields):
        text = json_line({"log_format": "hello", "log_time": 0.25, "log_namespace": "n", **fields})
        self.assertEqual((text[-1], text.count("\n"), text.isascii()), ("\n", 1, True))
        return json.loads(text, parse_constant=self.fail)

    def test_event(self):
        line = self.line(
            log_format="serving {topic} at {address}", topic="calc", address="tcp://10.0.0.1:9", log_level=LogLevel.warn
        )
        self.assertEqual(
            line,
            {
                "time": "1970-01-01T00:00:00.250000+00:00",
                "level": "warn",
                "namespace": "n",
                "message": "serving calc at tcp://10.0.0.1:9",
                "topic": "calc",
                "address": "tcp://10.0.0.1:9",
            },
        )
        self.assertEqual(list(line)[:4], ["time", "level", "namespace", "message"])

    def test_values(self):
        for given, written in (
            (None, None),
            (True, True),
            (2**80, 2**80),
            (1.5, 1.5),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
            ("one\ntwo\udc80 \u20ac", "one\ntwo\udc80 \u20ac"),
            (b"\x00\xff", "00ff"),
            ([1, b"\xff", None], [1, "ff", None]),
            (ConfigError("no"), "no"),
            (LogLevel.info, "<LogLevel=info>"),
        ):
            self.assertEqual(self.line(value=given)["value"], written)
        self.assertIn("Odd", self.line(value=Odd())["value"])

    def test_our_names_are_kept(self):
        line = self.line(level=3, namespace="math", failure=None)
        self.assertEqual((line["level"], line["namespace"]), ("info", "n"))
        self.assertEqual((line["level_"], line["namespace_"], line["failure_"]), (3, "math", None))

    def test_failure(self):
        try:
            raise ZeroDivisionError("oh\nno")
        except ZeroDivisionError:
            line = self.line(log_failure=Failure())
        self.assertEqual((line["failure"]["type"], line["failure"]["text"]), ("ZeroDivisionError", "oh\nno"))
        self.assertIn("test_log.py", line["failure"]["traceback"])

    def test_broken_format(self):
        """An event that cannot be formatted is a line all the same."""
        self.assertIn("Unable to format", self.line(log_format="{missing}")["message"])


def log_calls() -> Iterator[tuple[str, str, set[str]]]:
    """Read every call of a `Logger` in the house: where it is, its format, and the names of its facts."""
    methods = {"debug", "info", "warn", "error", "critical", "failure"}
    root = Path(zmqrpc.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "test" in path.relative_to(root).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr=logger) | ast.Name(id=logger), attr=method),
                    args=[first, *_],
                    keywords=keywords,
                ) if logger.strip("_") == "log" and method in methods:
                    where = f"{path.relative_to(root)} line {node.lineno}"
                    own = {"failure", "level"} if method == "failure" else set()
                    yield where, ast.literal_eval(first), {keyword.arg or "**" for keyword in keywords} - own


class EveryEventTests(SynchronousTestCase):
    """All that we log, as text and as JSON."""

    def test_every_format_renders(self):
        calls = list(log_calls())
        self.assertGreater(len(calls), 30)
        for where, text, names in calls:
            wanted = {name.partition(".")[0] for _, name, _, _ in Formatter().parse(text) if name}
            self.assertLessEqual(wanted, names, where)
            # What JSON calls otherwise, and what the older log of Twisted takes for its own.
            self.assertEqual(names & {"time", "message", "format", "system", "level", "namespace"}, set(), where)
            # A number fits every format that is used.
            event = {"log_format": text, "log_namespace": "n", "log_level": LogLevel.info, **dict.fromkeys(names, 1)}
            self.assertNotIn("Unable to format", formatEventAsClassicLogText(event) or "", where)
            self.assertNotIn("Unable to format", json.loads(json_line(event))["message"], where)


class LogFileTests(TestCase):
    log = Logger()

    def setUp(self):
        self.path = Path(self.mktemp()).absolute()

    def open(self, **options):
        log_file = LogFile(str(self.path), **options)
        log_file.open(reactor)
        self.addCleanup(log_file.close)
        return log_file

    async def hang_up(self):
        os.kill(os.getpid(), signal.SIGHUP)
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.05, turn.callback, None)
        await turn

    async def test_text(self):
        log_file = self.open()
        self.log.info("one {number}", number=1)
        self.log.debug("not this")
        log_file.close()
        self.log.info("nor this")
        self.assertRegex(self.path.read_text(), r"^\S+ \[zmqrpc.test.tap.test_log.LogFileTests#info\] one 1\n$")

    async def test_json(self):
        self.open(form="json", level=LogLevel.debug)
        self.log.debug("one {number}", number=1)
        (line,) = map(json.loads, self.path.read_text().splitlines())
        self.assertEqual((line["level"], line["message"], line["number"]), ("debug", "one 1", 1))

    async def test_what_cannot_be_encoded(self):
        log_file = self.open()
        log_file.write("a\udcffb")
        log_file.flush()
        self.assertIn("a\\udcffb", self.path.read_text())

    async def test_moved(self):
        """After somebody has moved the file and sent SIGHUP there is a new one; nothing is lost in between."""
        moved = self.path.with_suffix(".1")
        self.open()
        self.log.info("one")
        self.path.rename(moved)
        self.log.info("two")
        await self.hang_up()
        self.log.info("three")
        self.assertRegex(moved.read_text(), r"(?s)\] one\n.*\] two\n$")
        self.assertRegex(self.path.read_text(), r"(?s)\] opened .* again\n.*\] three\n$")
        # The descriptor of the old file is not kept.
        held = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)}
        self.assertNotIn(str(moved), held)

    async def test_cannot_be_opened_again(self):
        """The file that is open is kept, and says why."""
        moved = self.path.with_suffix(".1")
        self.open()
        self.path.rename(moved)
        self.path.mkdir()
        await self.hang_up()
        self.log.info("on")
        self.assertRegex(
            moved.read_text(), r"(?s)cannot be written \(Is a directory\).*still goes to the file.*\] on\n$"
        )

    async def test_several(self):
        """Two services of a process have a file each; SIGHUP is for both, in whatever order they end."""
        handler = signal.getsignal(signal.SIGHUP)
        first = self.open()
        self.path = self.path.with_suffix(".second")
        second = self.open()
        before = [first.path, second.path]
        for remaining in ((first, second), (second,)):
            for log_file in remaining:
                os.unlink(log_file.path)
            await self.hang_up()
            for log_file in remaining:
                self.assertTrue(os.path.exists(log_file.path))
            first.close()
        os.unlink(before[0])
        second.close()
        self.assertEqual(signal.getsignal(signal.SIGHUP), handler)

    async def test_owner(self):
        """A file that is made is given to who goes on with it; one that was there is left alone."""
        if os.geteuid() != 0:
            self.open(owner=(os.getuid(), os.getgid())).close()
            self.assertEqual(self.path.stat().st_uid, os.getuid())
            return
        self.open(owner=(65534, -1)).close()
        self.assertEqual((self.path.stat().st_uid, self.path.stat().st_gid), (65534, 0))
        theirs = self.path
        self.path = self.path.with_suffix(".link")
        os.chown(theirs, 0, 0)
        self.path.symlink_to(theirs)
        self.open(owner=(65534, -1)).close()
        self.assertEqual(theirs.stat().st_uid, 0)

    def test_standard_output(self):
        log_file = LogFile("-")
        log_file.check()
        self.assertEqual(log_file.path, "-")

    def test_outside_the_main_thread(self):
        """There nobody may set handlers; the log is written all the same."""
        from twisted.internet.threads import deferToThread

        def run():
            log_file = LogFile(str(self.path))
            log_file.open(reactor)
            log_file.close()

        return deferToThread(run)


class Immediately:
    """A reactor that takes calls from threads, and makes them at once."""

    def callFromThread(self, called):
        called()


class HangUpTests(SynchronousTestCase):
    def setUp(self):
        self.heard: list[str] = []
        before = signal.signal(signal.SIGHUP, self.says("before"))
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.theirs = signal.getsignal(signal.SIGHUP)

    def says(self, word):
        return lambda *_: self.heard.append(word)

    def hears(self):
        self.heard.clear()
        signal.raise_signal(signal.SIGHUP)
        return self.heard

    def make(self, word):
        hang_up = OnSignal(Immediately(), signal.SIGHUP, self.says(word))
        hang_up.begin()
        self.addCleanup(hang_up.end)
        return hang_up

    def test_chain(self):
        """Who was there before is called too, and is there again afterwards."""
        hang_up = self.make("ours")
        self.assertEqual(self.hears(), ["ours", "before"])
        hang_up.end()
        hang_up.end()
        self.assertIs(signal.getsignal(signal.SIGHUP), self.theirs)

    def test_any_order(self):
        """Whichever of several ends first: the others hear, and after the last it is as it was."""
        for order in permutations(range(3)):
            hang_ups = [self.make(str(number)) for number in range(3)]
            remaining = ["0", "1", "2"]
            for number in order:
                self.assertEqual(self.hears(), [*remaining, "before"])
                hang_ups[number].end()
                remaining.remove(str(number))
            self.assertIs(signal.getsignal(signal.SIGHUP), self.theirs)

    def test_somebody_above(self):
        """A handler that somebody sets after ours, and that calls ours, goes on to whom ours called."""
        hang_up = self.make("ours")
        ours: Any = signal.getsignal(signal.SIGHUP)

        def above(number, frame):
            self.heard.append("above")
            ours(number, frame)

        signal.signal(signal.SIGHUP, above)
        hang_up.end()
        self.assertEqual(self.hears(), ["above", "before"])
        self.make("again").end()
        self.make("again")
        self.assertEqual(self.hears(), ["again", "above", "before"])


def _is_open(descriptor):
    return os.path.lexists(f"/proc/self/fd/{descriptor}")
