"""
The layers of the house, checked by reading the imports of every module.

Imports point only downwards. Who adds a module gives it a place in `LAYERS`; who needs an exception has found a
question for a design decision (docs/adr), not for this file.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from textwrap import dedent

import attrs
from twisted.trial.unittest import SynchronousTestCase

import zmqrpc

LAYERS: dict[str, set[str]] = {
    "words": {
        *("_version", "address", "errors", "interfaces", "option", "plugins", "reading", "record"),
        *("settings", "spelling", "target", "transport_url"),
    },
    "core": {"core"},
    "configuration": {"config_files", "configuration", "families", "ini"},  # reads files, the environment and plugins
    "shells": {"matchmaker", "reactor_zmq"},
    "roles": {
        *("adapters", "binding", "caller", "callers", "checks", "client", "connections", "delivery", "discovery"),
        *("dispatcher", "hints", "introspection", "link", "link_user", "links", "listener", "members"),
        *("notices", "notifier", "outbox", "outcomes", "proxy", "registrar", "requests", "server"),
        *("signals", "stall", "subscription", "sweep", "threads", "waiter", "watches"),
        *("broker", "carrier", "connector", "proxies", "proxy_link", "proxy_user", "proxy_watch"),
