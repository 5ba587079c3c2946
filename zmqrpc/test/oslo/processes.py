"""Processes that speak oslo.messaging, for tests."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from zmqrpc.test.processes import ENVIRONMENT, LIMIT, ProcessTestCase, Running, until
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.warm import WarmInterpreter

# oslo.messaging and eventlet warn of one another. Nova and others have the C library look up names under eventlet too.
_ENVIRONMENT = {**ENVIRONMENT, "PYTHONWARNINGS": "ignore", "EVENTLET_NO_GREENDNS": "yes"}

_WARM = WarmInterpreter(_ENVIRONMENT, imported=["zmqrpc.test.oslo.acts"])
_COLD = WarmInterpreter({})
"""It is for nobody, so that an interpreter is started."""


_PLAIN = "from zmqrpc.test.oslo.acting import main; main()"
_GREEN = f"import eventlet; eventlet.monkey_patch(); {_PLAIN}"


class ActError(Exception):
    """
    What a process was to do raised something.

    :ivar type: of the error, with its module.
    :ivar kinds: the names of its class and of all classes above it.
    :ivar text: what it says.
    :ivar facts: its attributes.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(about["traceback"])
        self.type: str = about["type"]
        self.kinds: list[str] = about["kinds"]
        self.text: str = about["text"]
        self.facts: dict[str, Any] = about["facts"]
        self.arguments: list[Any] = about["args"]


class Child(Running):
    """
    A process that does what it is told; see `zmqrpc.test.oslo.acts`.

    :param green: whether it has patched the standard library with eventlet before anything else.
    :param told: what `Acts` is made with.
    """

    def __init__(self, case: OsloTestCase, green: bool, told: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._stream = ours.makefile("rb")
        self._answers: dict[int, Any] = {}
        self._count = 0
        words = [sys.executable, "-P", "-c", _GREEN if green else _PLAIN, json.dumps({"green": green, **told})]
        ours.settimeout(LIMIT)
        with theirs:
            super().__init__(words, case.directory, _ENVIRONMENT, _COLD if green else _WARM, theirs.fileno())

    def begin(self, act: str, **arguments: Any) -> int:
        """Have it begin to do something, and return the number under which `end` finds what came of it."""
        self._count += 1
        self._socket.sendall(json.dumps([self._count, act, arguments]).encode() + b"\n")
        return self._count

    def ended(self, number: int) -> Any:
        """Wait for the end of what was begun; return what it returned, or raise `ActError`."""
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise ActError(answer["error"])
        return answer["result"]

    def _read(self) -> None:
        line = self._stream.readline()
        if not line:
            raise AssertionError(f"it has ended: {self.out}\n{self.err}")
        answer = json.loads(line)
        self._answers[answer.pop("number")] = answer

    def has_ended(self, number: int) -> bool:
        """Tell whether what was begun has ended."""
        # What comes after it is of something that begins after it.
        self.do("pid")
        return number in self._answers

    def do(self, act: str, **arguments: Any) -> Any:
        """Have it do something, and wait for the end of that."""
        return self.ended(self.begin(act, **arguments))

    def hears(self, count: int, name: str = "") -> Any:
        """Wait until it has heard that many; return them."""

        def heard() -> Any:
            found = self.do("heard", name=name)
            return found if len(found) >= count else None

        return until(heard, lambda: f"{count} heard, but {self.do('heard', name=name)}")

    def leave(self) -> int:
        """Have it end as a program does that comes to its end; return its status."""
        with suppress(BrokenPipeError):
            self.begin("leave")
        return self.ends()

    def stop_running(self) -> None:
        """Have it hang, from when the last of its threads does nothing more."""
        self.signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")
        # The state stands behind the name, which is in brackets.
        until(lambda: {each.read_text().rpartition(")")[2].split()[0] for each in threads.glob("*/stat")} == {"T"}, "T")

    def run_again(self) -> None:
        """End the hanging."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        super().kill()
        self._stream.close()
        self._socket.close()


class OsloTestCase(ProcessTestCase):
    """Tests whose processes speak oslo.messaging; by default with SQLite."""

    def child(self, green: bool = False, url: str | None = None, **told: Any) -> Child:
        """Start a process; `told` is what `zmqrpc.test.oslo.acts.Acts` is made with."""
        child = Child(self, green, {"url": url or self.url, **told})
        self.addCleanup(child.kill)
        return child

    def program(self, module: str, *arguments: str) -> Running:
        """Run a module of ours as a program, beside the test, in an interpreter of its own."""
        words = [sys.executable, "-P", "-m", module, *arguments]
        running = Running(words, self.directory, _ENVIRONMENT)
        self.addCleanup(running.kill)
        return running

    def reach(self, client: Child, topic: str, servers: int) -> None:
        """Wait until a client reaches that many servers: it passes over those that are slow to answer its greeting."""
        until(lambda: len(client.do("calls", topic=topic, count=servers)) == servers, f"{servers} answer")

    def pause(self, seconds: float) -> None:
        """Let something go on for some time, for what shows only in that."""
        time.sleep(seconds)

    def redis_url(self) -> str:
        """Start a Redis; return the URL of those who find each other there, on this machine alone."""
        return f"{RedisServer(self).url}?rpc_zmq_bind_address=127.0.0.1"

    def fails(self, child: Child, act: str, **arguments: Any) -> ActError:
        """Have a process do what fails, and return how."""
        return self.assertRaises(ActError, child.do, act, **arguments)  # type: ignore[no-any-return]
