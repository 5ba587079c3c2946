"""Redis servers that tests run for real."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from zmqrpc.test.programs import LIMIT, Program, program


class RedisServer(Program):
    """
    A real ``redis-server``, running; it is empty at each start, unless an option says that it writes.

    :param options: for its command line, for example ``("--requirepass", "secret")``.
    :param configuration: the path of a configuration file.
    """

    keeps = "appendonlydir"

    def __init__(
        self,
        case: Any,
        *options: str,
        configuration: Path | None = None,
        port: int = 0,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(case, port, environment)
        self.options = list(options)
        self.configuration = configuration
        self.start()

    @property
    def url(self) -> str:
        return f"zmq+redis://127.0.0.1:{self.port}"

    def ask(self, *words: str | bytes | int, db: int = 0):
        """Do one command, blocking, on a connection of its own; return the answer as `RedisPeer.ask`."""
        return ask(self, *words, db=db)

    def calls(self) -> dict[str, int]:
        """Return how often each command was run by clients and scripts, since the start."""
        counts = {}
        for line in self.ask("INFO", "commandstats").decode().splitlines():
            if line.startswith("cmdstat_"):
                name, _, facts = line.removeprefix("cmdstat_").partition(":calls=")
                counts[name] = int(facts.partition(",")[0])
        return counts

    def command(self) -> list[str]:
        configuration = [] if self.configuration is None else [str(self.configuration)]
        words = [program("redis-server", "redis-server"), *configuration, *listening(self)]
        return [*words, "--save", "", *self.options]

    def answers(self) -> bool:
        return answers(self)


def listening(server: Program) -> list[str]:
    """Return the options that say where a program of Redis listens and runs."""
    return ["--port", str(server.port), "--bind", "127.0.0.1", "--dir", str(server.directory)]


def ask(server: Any, *words: str | bytes | int, db: int = 0):
    """Do one command at a program of Redis, blocking, on a connection of its own; see `RedisPeer.ask`."""
    with RedisPeer(server) as peer:
        if db:
            peer.ask("SELECT", db)
        return peer.ask(*words)


def answers(server: Any) -> bool:
    """Tell whether a program of Redis answers, be it that it refuses to."""
    try:
        ask(server, "PING")
    except OSError:
        return False
    except RedisError:
        pass
    return True


class RedisError(Exception):
    """What a server answered is an error."""


class RedisPeer:
    """A blocking connection to a program of Redis, which knows nothing of txredisapi."""

    def __init__(self, server: Any) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), LIMIT)
        self._file = self._socket.makefile("rb")
        options: Sequence[str] = server.options
        for word, value in pairwise(options):
            if word == "--requirepass":
                self.ask("AUTH", value)

    def __enter__(self) -> RedisPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def wait_for_ever(self) -> None:
        """Wait for what is read for as long as it takes."""
        self._socket.settimeout(None)

    def shut(self) -> None:
        """End it, also while another thread reads."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, *words: str | bytes | int) -> None:
        """Send a command."""
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._socket.sendall(
            b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        )

    def ask(self, *words: str | bytes | int):
        """Send a command and return its answer: bytes, int, None or a list; an error is raised."""
        self.send(*words)
        return self.read()

    def read(self):
        """Read one answer."""
        line = self._file.readline()
        if not line:
            raise OSError("the server has closed the connection")
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                raise RedisError(rest.decode())
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
            case b"*":
                return [self.read() for _ in range(int(rest))]
        raise AssertionError(f"redis-server answered {line!r}")
