"""The configuration files that both seeds print, as they print them (docs/configurations)."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import indent
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.configuration import FOR_PROXIES, FOR_SERVICES, load
from zmqrpc.node import Node
from zmqrpc.settings import Settings
from zmqrpc.test.processes import CHECKOUT

FILES = CHECKOUT / "docs" / "configurations"
REDIS = "zmq+redis://host-1:6379"

EXPECTED: dict[str, dict[str, Any]] = {
    "newer/enabling": {"url": "zmq://"},
    "newer/redis": {"url": "zmq+redis://127.0.0.1:6379"},
    "newer/sentinel": {"url": "zmq+sentinel://host1:26379,host2:26379,host3:26379"},
    "newer/listening-address": {"rpc_zmq_bind_address": "*"},
    "newer/static-direct": {"url": REDIS, "zmq_target_expire": 60, "zmq_target_update": 30},
    "newer/dynamic-direct": {
        "url": REDIS,
        "use_dynamic_connections": True,
        "zmq_linger": 60,
        "zmq_target_expire": 60,
        "zmq_target_update": 30,
    },
    "newer/router-proxy.services": {"url": REDIS, "use_router_proxy": True},
    "newer/router-proxy.proxies": {"url": REDIS, "proxy_host": "host-1"},
    "newer/pub-sub.services": {"url": REDIS, "use_router_proxy": True, "use_pub_sub": True},
    "newer/pub-sub.proxies": {"url": REDIS, "use_pub_sub": True, "proxy_host": "host-1"},
    "newer/local-publisher.services": {
        "url": REDIS,
        "use_router_proxy": True,
        "use_pub_sub": True,
        "subscribe_on": ("localhost:60001",),
    },
    "newer/central-publishers.services": {
        "url": REDIS,
        "use_router_proxy": True,
        "use_pub_sub": True,
        "subscribe_on": ("host-1:50003", "host-2:50003", "host-3:50003"),
    },
    "newer/dynamic-direct+pub-sub.services": {"url": REDIS, "use_pub_sub": True, "use_dynamic_connections": True},
    "older/dummy": {"url": "zmq://"},
    "older/redis": {
        "url": "zmq+redis://127.0.0.1:6379",
        "rpc_zmq_matchmaker": "redis",
        "rpc_zmq_bind_address": "*",
        "rpc_zmq_min_port": 9050,
        "rpc_zmq_max_port": 10050,
    },
    "older/broker": {"url": "zmq+redis://127.0.0.1:6379", "rpc_zmq_matchmaker": "redis", "use_pub_sub": True},
}
"""What each says; everything else is the default."""


class SeedFileTests(SynchronousTestCase):
    def setUp(self):
        self.patch(os, "environ", {})

    def load(self, name, path=None):
        service = FOR_PROXIES if name.endswith(".proxies") else FOR_SERVICES
        url = None if "url" in EXPECTED[name] else "zmq://"
        return load(url=url, config_files=[str(path or FILES / f"{name}.conf")], service=service)

    def test_all(self):
        """Each is read for what it says, also as it stands in the seeds, indented."""
        names = {str(path.relative_to(FILES).with_suffix("")) for path in FILES.rglob("*.conf")}
        self.assertEqual(names, set(EXPECTED))
        for name, values in EXPECTED.items():
            self.assertEqual(self.load(name).settings, Settings(**values), name)
            for indentation in ("    ", "        ", "\t"):
                path = Path(self.mktemp())
                path.write_text(indent((FILES / f"{name}.conf").read_text(), indentation))
                self.assertEqual(self.load(name, path).settings, Settings(**values), name)

    def test_warnings(self):
        """Those of the newer seed are without fault, but for the group that it spells in two ways."""
        for name in EXPECTED:
            warnings = self.load(name).warnings
            if name.endswith(".proxies"):
                self.assertEqual(len(warnings), 1)
                self.assertIn("host in [zmq_proxy_opt]", warnings[0])
            elif name.startswith("older/"):
                self.assertIn("rpc_backend", warnings[-1])
            else:
                self.assertEqual(warnings, ())

    def test_which_run(self):
        """A node of each is made."""
        for name in EXPECTED:
            if name.endswith(".proxies"):
                continue
            Node(Clock(), self.load(name).settings)

    def test_page(self):
        """The page shows every file, and says of each whether it runs."""
        page = (FILES / "index.rst").read_text()
        for name in EXPECTED:
            self.assertIn(f".. literalinclude:: {name}.conf", page)
