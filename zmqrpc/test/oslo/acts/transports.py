"""The transports of a process."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

import oslo_messaging
from oslo_config import cfg


class Transports:
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
        self._others: list[Any] = []
        self.servers: dict[str, Any] = {}
        self.heard_by: dict[str, list[Any]] = {"": []}
        self.gates: dict[str, threading.Event] = {}
        self.counts: dict[str, int] = {}

    def transport(self, kind: str = "rpc", url: str | None = None) -> Any:
        key = kind, url or self.url
        if key not in self.transports:
            get = getattr(oslo_messaging, f"get_{kind}_transport")
            self.transports[key] = get(self.conf, key[1], allowed_remote_exmods=self._allowed())
        return self.transports[key]

    def begin_another(self) -> None:
        """Have another transport of the same URL for what comes; that which is there goes on."""
        self._others.append(self.transports.pop(("rpc", self.url)))

    def _allowed(self) -> list[Any] | None:
        # Services give modules, or their names.
        if self.allowed is None:
            return None
        return [import_module(name[1:]) if name[0] == "=" else name for name in self.allowed]

    def pid(self) -> int:
        return os.getpid()

    def heard(self, name: str = "") -> list[Any]:
        return self.heard_by.get(name, [])
