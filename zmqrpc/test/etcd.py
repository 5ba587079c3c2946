"""Members of etcd that tests run for real."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from zmqrpc.test.ports import free_port
from zmqrpc.test.programs import LIMIT, Program, program


class EtcdMember(Program):
    """
    A real ``etcd``; it has what it held when it is started again.

    :param peers: the members of its cluster, this one included, by name, as URLs for peers; empty for itself alone.
    """

    def __init__(
        self,
        case: Any,
        *options: str,
        name: str = "one",
        peers: dict[str, str] | None = None,
        listen: int = 0,
        scheme: str = "http",
    ) -> None:
        super().__init__(case)
        self.name = name
        self.options = list(options)
        self._peer_port = listen or free_port()
        self._peers = peers or {name: f"http://127.0.0.1:{self._peer_port}"}
        self._scheme = scheme

    @property
    def url(self) -> str:
        return f"zmq+etcd://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        own = f"{self._scheme}://127.0.0.1:{self.port}"
        settings = {
            "name": self.name,
            "data-dir": self.directory / self.keeps,
            "listen-client-urls": own,
            "advertise-client-urls": own,
            "listen-peer-urls": f"http://127.0.0.1:{self._peer_port}",
            "initial-advertise-peer-urls": self._peers[self.name],
            "initial-cluster": ",".join(f"{name}={url}" for name, url in self._peers.items()),
            "heartbeat-interval": 50,
            "election-timeout": 500,
            "bcrypt-cost": 4,
            "logger": "zap",
            "log-level": "error",
        }
        words = [program("etcd", "etcd-server"), "--unsafe-no-fsync"]
        return [*words, *(f"--{name}={value}" for name, value in settings.items()), *self.options]

    def answers(self) -> bool:
        """Tell whether it answers with what the majority agrees upon."""
        try:
            self.ask("kv/range", key="x", timeout=1)
        except urllib.error.HTTPError as error:
            return error.code in (400, 401)  # it wants to know who we are
        except OSError:
            return self._scheme == "https" and self._accepts()
        return True

    def _accepts(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def ask(self, path: str, timeout: float = LIMIT, token: str | None = None, **fields: Any) -> Any:
        """Ask it something, blocking; see `ask`."""
        return ask(f"http://127.0.0.1:{self.port}", path, timeout, token, **fields)

    def put(self, key: str, value: str) -> None:
        """Write a key."""
        self.ask("kv/put", key=key, value=value)

    def held(self, prefix: str = "/") -> dict[str, str]:
        """Return every key with its value."""
        found = self.ask("kv/range", key=prefix, range_end=prefix[:-1] + chr(ord(prefix[-1]) + 1)).get("kvs", [])
        return {_text(pair["key"]): _text(pair.get("value", "")) for pair in found}

    def revision(self) -> int:
        """Return the revision of the store."""
        return int(self.ask("kv/range", key="x")["header"]["revision"])

    @property
    def is_leader(self) -> bool:
        status = self.ask("maintenance/status", timeout=2)
        return bool(status.get("leader") == status["header"]["member_id"])


def ask(
    root: str,
    path: str,
    timeout: float = LIMIT,
    token: str | None = None,
    context: ssl.SSLContext | None = None,
    **fields: Any,
) -> Any:
    """
    Ask somebody something, blocking; a key or a value is made base64.

    :param root: the URL up to the host.
    :param context: for TLS.
    """
    for name in ("key", "range_end", "value"):
        if isinstance(fields.get(name), (str, bytes)):
            fields[name] = encoded(fields[name])
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token is not None else {})
    request = urllib.request.Request(f"{root}/v3/{path}", json.dumps(fields).encode(), headers)
    with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
        return json.loads(answer.read())


def allow(ask: Callable[..., Any], prefix: str = "/zmqrpc/", **users: str) -> None:
    """
    Make users with the password ``secret`` and rights for a prefix, and have everybody say who he is from then on.

    :param ask: asks a member.
    :param users: the rights, ``READWRITE`` or ``READ``, by name.
    """
    for user in ("root", *users):
        ask("auth/user/add", name=user, password="secret")
        ask("auth/role/add", name=user)
        ask("auth/user/grant", user=user, role=user)
    for user, kind in users.items():
        permission = {"permType": kind, "key": encoded(prefix), "range_end": encoded(prefix[:-1] + "0")}
        ask("auth/role/grant", name=user, perm=permission)
    ask("auth/enable")


def encoded(text: str | bytes) -> str:
    """Write text as keys and values are sent."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")


def single(case: Any, *options: str, **more: Any) -> EtcdMember:
    """Start one member."""
    member = EtcdMember(case, *options, **more)
    member.start()
    return member


class EtcdCluster:
    """Three members, which reach each other through forwarders of the test, so that one can be cut off."""

    def __init__(self, case: Any, *options: str, started: bool = True) -> None:
        names = ("one", "two", "three")
        listens = {name: free_port() for name in names}
        self._cut: set[str] = set()
        self._forwarders = {name: Forwarder(case, listens[name], self._cut) for name in names}
        peers = {name: f"http://127.0.0.1:{self._forwarders[name].port}" for name in names}
        self.members = [EtcdMember(case, *options, name=name, peers=peers, listen=listens[name]) for name in names]
        if started:
            self.start()

    @property
    def url(self) -> str:
        return "zmq+etcd://" + ",".join(f"127.0.0.1:{member.port}" for member in self.members)

    def start(self) -> None:
        """Start all of them, and wait."""
        for member in self.members:
            member.begin()
        for member in self.members:
            member.wait()

    def leader(self, old: EtcdMember | None = None) -> EtcdMember:
        """
        Return the leader.

        :param old: one that is not asked: it does not answer, or does not know yet that it is the leader no more.
        """
        give_up = time.monotonic() + LIMIT
        while True:
            for member in self.members:
                if member is old:
                    continue
                with suppress(OSError):
                    if member.is_leader:
                        return member
            assert time.monotonic() < give_up, "the cluster has no leader"
            time.sleep(0.02)

    def cut_off(self, member: EtcdMember) -> None:
        """Have a member hear nothing of the others, nor they of it; clients reach all."""
        self._cut.add(f"{int(member.ask('maintenance/status')['header']['member_id']):x}")
        self._forwarders[member.name].cut_all = True
        for forwarder in self._forwarders.values():
            forwarder.end_cut()

    def join(self) -> None:
        """Undo `cut_off`."""
        self._cut.clear()
        for forwarder in self._forwarders.values():
            forwarder.cut_all = False


class Forwarder:
    """
    Forwards a port on loopback to that of a member, but not for peers that are cut off.

    :param cut: the ids of those; a peer tells its id in the head of each request.
    :ivar cut_all: whether nobody is connected.
    """

    def __init__(self, case: Any, to: int, cut: set[str]) -> None:
        self.port = free_port()
        self.cut_all = False
        self._to = to
        self._cut = cut
        self._pairs: dict[socket.socket, tuple[socket.socket, str]] = {}
        self._listening = socket.create_server(("127.0.0.1", self.port))
        case.addCleanup(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut_all = True
        self.end_cut()

    def end_cut(self) -> None:
        """End the connections that there may not be any more."""
        for ours, (theirs, peer) in list(self._pairs.items()):
            if self._is_cut(peer):
                for end in (ours, theirs):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def _is_cut(self, peer: str) -> bool:
        return self.cut_all or peer in self._cut

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(ours,), daemon=True).start()

    def _forward(self, ours: socket.socket) -> None:
        with ours, suppress(OSError):
            head = ours.recv(65536)
            found = re.search(rb"(?i)X-Server-From: *([0-9a-f]+)", head)
            peer = found[1].decode() if found else ""
            if not head or self._is_cut(peer):
                return
            with socket.create_connection(("127.0.0.1", self._to)) as theirs:
                self._pairs[ours] = theirs, peer
                theirs.sendall(head)
                back = threading.Thread(target=_pump, args=(theirs, ours), daemon=True)
                back.start()
                _pump(ours, theirs)
                back.join()
        self._pairs.pop(ours, None)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
