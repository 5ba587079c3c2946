"""Servers of others that tests run for real: on ports of their own, in directories of their own, never as daemons."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from zmqrpc.test.ports import free_port

LIMIT = 20
"""Seconds within which a server must have started or ended."""


def program(name: str, package: str) -> str:
    """Return the path of a program; fail, saying how to install it, when there is none."""
    # Debian has some daemons where only root looks.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise AssertionError(
            f"this test needs the program {name}: run make test, which installs it, or sudo apt-get install {package}"
        )
    return path


class RedisServer:
    """
    A real ``redis-server`` on loopback, empty at each start; it ends with the test at the latest.

    :param options: for its command line, for example ``("--requirepass", "secret")``.
    :param configuration: the path of a configuration file.
    :param environment: of its process; None for ours.
    :ivar port: stays the same when it is started again.
    """

    def __init__(
        self,
        case,
        *options: str,
        configuration: Path | None = None,
        port: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._environment = environment
        self.port = port or free_port()
        self.options = list(options)
        self.configuration = configuration
        self._directory = Path(case.mktemp()).absolute()
        self._directory.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None
        case.addCleanup(self.kill)
        self.start()

    @property
    def url(self) -> str:
        return f"zmq+redis://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        """Whether it was started, hangs or not."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None
        # Linux ends it when we are gone, however we went.
        words = ["setpriv", "--pdeathsig", "KILL", *self._command()]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=self._environment
        )
        log = self._directory / "log"
        give_up = time.monotonic() + LIMIT
        while not self._answers():
            said = log.read_text() if log.exists() else ""
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise AssertionError(f"{Path(self._command()[0]).name} did not start; its log says:\n{said}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash does; what it held is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(LIMIT)

    def restart(self) -> None:
        """Kill it and start it again, empty."""
        self.kill()
        self.start()

    def stop_answering(self) -> None:
        """Have it hang: it accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def answer_again(self) -> None:
        """End the hanging."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str | bytes | int, db: int = 0):
        """Do one command, blocking, on a connection of its own; return the answer as `RedisPeer.ask`."""
        with RedisPeer(self) as peer:
            if db:
                peer.ask("SELECT", db)
            return peer.ask(*words)

    def calls(self) -> dict[str, int]:
        """Return how often each command was run by clients and scripts, since the start."""
        counts = {}
        for line in self.ask("INFO", "commandstats").decode().splitlines():
            if line.startswith("cmdstat_"):
                name, _, facts = line.removeprefix("cmdstat_").partition(":calls=")
                counts[name] = int(facts.partition(",")[0])
        return counts

    def _command(self) -> list[str]:
        words = [program("redis-server", "redis-server")]
        if self.configuration is not None:
            words.append(str(self.configuration))
        return [*words, *self._where(), "--save", "", *self.options]

    def _where(self) -> list[str]:
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        return [*words, "--logfile", str(self._directory / "log")]

    def _answers(self) -> bool:
        try:
            self.ask("PING")
        except OSError:
            return False
        except RedisError:
            pass
        return True


class RedisError(Exception):
    """What a server answered is an error."""


class RedisPeer:
    """A blocking connection to a server, which knows nothing of txredisapi."""

    def __init__(self, server: RedisServer) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), LIMIT)
        self._file = self._socket.makefile("rb")
        for number, word in enumerate(server.options[:-1]):
            if word == "--requirepass":
                self.ask("AUTH", server.options[number + 1])

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
