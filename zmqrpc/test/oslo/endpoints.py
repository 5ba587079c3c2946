"""Endpoints of the servers and listeners of oslo.messaging that tests start."""

from __future__ import annotations

import os
import threading
import time
from importlib import import_module
from typing import Any

import oslo_messaging

from zmqrpc.test.oslo.mistakes import KINDS, PlainError
from zmqrpc.test.oslo.values import VALUES
from zmqrpc.unpatched import unpatched


class Endpoint:
    """
    :param name: of its server.
    :param heard: what `note` is told.
    :param log: a file of several processes.
    :param gates: what `wait` waits for.
    """

    target: Any = None

    def __init__(self, name: str, heard: list[Any], log: str | None, gates: dict[str, threading.Event]) -> None:
        self._name = name
        self._heard = heard
        self._log = log
        self._gates = gates

    def echo(self, ctxt: Any, value: Any) -> Any:
        return value

    def name(self, ctxt: Any) -> str:
        return self._name

    def pid(self, ctxt: Any) -> int:
        return os.getpid()

    def context(self, ctxt: Any, **arguments: Any) -> Any:
        return [ctxt, arguments]

    def note(self, ctxt: Any, **arguments: Any) -> None:
        self._heard.append([self._name, arguments])

    def note_all(self, ctxt: Any, within: Any) -> None:
        self._heard.append([ctxt, within])

    def number(self, ctxt: Any, value: int, seconds: float = 0.0) -> str:
        """Write a number to the log, at once and whole; then take so many seconds."""
        assert self._log is not None
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{value}\n".encode())
        os.close(descriptor)
        time.sleep(seconds)
        return self._name

    def slow(self, ctxt: Any, seconds: float) -> str:
        self._heard.append([self._name, "slow"])
        time.sleep(seconds)
        return self._name

    def nap(self, ctxt: Any, seconds: float = 0.05) -> str:
        time.sleep(seconds)
        return self._name

    def hold_up(self, ctxt: Any, seconds: float) -> str:
        """Hold up all green threads, in C."""
        unpatched("time").sleep(seconds)
        return self._name

    def wait(self, ctxt: Any, gate: str) -> str:
        self._heard.append([self._name, gate])
        self._gates.setdefault(gate, threading.Event()).wait(30)
        return self._name

    def fail(self, ctxt: Any, kind: str) -> None:
        self._heard.append([self._name, kind])
        raise KINDS[kind]()

    @oslo_messaging.expected_exceptions(PlainError)
    def fail_as_expected(self, ctxt: Any, kind: str) -> None:
        raise KINDS[kind]()

    def measure(self, ctxt: Any, text: str) -> int:
        self._heard.append([self._name, len(text)])
        return len(text)

    def make(self, ctxt: Any, size: int) -> str:
        return "x" * size

    @oslo_messaging.expected_exceptions(ValueError)
    def fail_with(self, ctxt: Any, size: int) -> None:
        raise ValueError("x" * size)

    def run(self, ctxt: Any, module: str, function: str) -> Any:
        """Run a function of a module."""
        return getattr(import_module(module), function)()

    def fork(self, ctxt: Any, raises: bool) -> int | None:
        """Fork, and have the fork come back, with an error or with None; return its status."""
        pid = os.fork()
        if pid == 0 and raises:
            raise ValueError("of a fork")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else None

    def bring(self, ctxt: Any, kind: str) -> Any:
        """Return what may not be what JSON carries."""
        return VALUES[kind]


class Notices:
    """
    Of a listener.

    :param heard: every notification, or batch.
    :param refuses: how many it gives back first.
    :param raises: whether it raises instead, to give something back.
    """

    def __init__(self, heard: list[Any], refuses: int, raises: bool, batches: bool) -> None:
        self._heard = heard
        self._refuses = refuses
        self._raises = raises
        self._batches = batches

    def _take(self, priority: str, *told: Any) -> Any:
        if self._refuses:
            self._refuses -= 1
            if self._raises:
                raise ValueError("not this one")
            return oslo_messaging.NotificationResult.REQUEUE
        if self._batches:
            self._heard.append([len(told[0]), [message["payload"] for message in told[0]]])
        else:
            self._heard.append([priority, *told])
        return oslo_messaging.NotificationResult.HANDLED

    def __getattr__(self, priority: str) -> Any:
        if priority.startswith("_") or priority == "filter_rule":
            raise AttributeError(priority)
        return lambda *told: self._take(priority, *told)
