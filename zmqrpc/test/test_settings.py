"""What settings take, and what people see of a transport URL."""

from __future__ import annotations

import os
import sys
from io import StringIO
from traceback import format_exception
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli import run
from zmqrpc.core.batch import BATCH_OVERHEAD
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.node import Node
from zmqrpc.settings import FIELDS, Settings, masked_url
from zmqrpc.tap.server import Options

MASKED = {
    "zmq+redis://:secret@host:6379/0": "zmq+redis://:***@host:6379/0",
    "zmq+redis://user:secret@h1:6379,h2:6379/0": "zmq+redis://user:***@h1:6379,h2:6379/0",
    "zmq+sentinel://:secr%40et%25@h1:26379,h2:26379/group": "zmq+sentinel://:***@h1:26379,h2:26379/group",
    "zmq+redis://:secr@et@host?max_clients=5": "zmq+redis://:***@host?max_clients=5",
    "zmq+redis://:s/e?c#r@et%@host": "zmq+redis://:***@host",
    "zmq+redis://:PASSWORD@host": "zmq+redis://:PASSWORD@host",
    "zmq+redis://:PASSWORD2@host": "zmq+redis://:***@host",
    "zmq+redis://secret@host": "zmq+redis://***@host",
    "zmq+redis://host/0?password=secret&max_clients=5": "zmq+redis://host/0?password=***&max_clients=5",
    "zmq+redis:/:secret@host": "zmq+redis:***@host",
    "redis://user:secret@host": "redis://user:***@host",
    "user:secret@host": "user:***@host",
    "zmq+sqlite:///run/a:b@c.db": "zmq+sqlite:///run/a:b@c.db",
    "zmq+redis://s/ecret@host": "zmq+redis://***@host",
    "zmq+sqlite://run/a@c.db": "zmq+sqlite://***@c.db",
    "zmq+etcd://h1:2379,h2:2379/prefix": "zmq+etcd://h1:2379,h2:2379/prefix",
    "zmq://": "zmq://",
    "ada@example.org": "ada@example.org",
    "": "",
}
"""URLs, also such as nobody should write, and how they are shown."""

SECRET_URLS = [
    "zmq+{}://:QQQ%40%25WWW@host/0",
    "zmq+{}://user:QQQ@WWW@host",
    "zmq+{}://user:QQQ/WWW@host",
    "zmq+{}://:QQQ?WWW@host",
    "zmq+{}://:QQQ?WWW=WWW@host",
    "zmq+{}://:QQQ?WWW#1@host",
    "zmq+{}://:QQQ?WWW#1?WWW@host",
    "zmq+{}://:QQQ?max_routes=WWW@host",
    "zmq+{}://:QQQ?max_routes=5#WWW@host",
    "zmq+{}://:QQQ/WWW@host",
    "zmq+{}://QQQ/WWW@host",
    "zmq+{}://QQQ#WWW@host",
    "zmq+{}://:QQQ/WWW?max_routes=5@host",
    "zmq+{}://:QQQ#WWW@host",
    "zmq+{}://:QQQ%@[::1",
    "zmq+{}://:QQQ\N{ACCOUNT OF}x@host",
    "{}://:QQQ@host",
    "{}:/:QQQ@host",
]

NOT_VALID = {
    ("rpc_response_timeout", "5"): "option rpc_response_timeout is '5'; it must be a number",
    ("rpc_response_timeout", None): "option rpc_response_timeout is None; it must be a number",
    ("rpc_response_timeout", True): "option rpc_response_timeout is True; it must be a number",
    ("rpc_ack_timeout_base", 1j): "option rpc_ack_timeout_base is 1j; it must be a number",
    ("max_clients", "7"): "option max_clients is '7'; it must be a whole number",
    ("max_clients", True): "option max_clients is True; it must be a whole number",
    ("max_routes", None): "option max_routes is None; it must be a whole number",
    ("rpc_zmq_min_port", 49153.5): "option rpc_zmq_min_port is 49153.5; it must be a whole number",
    ("rpc_zmq_min_port", 0): "option rpc_zmq_min_port is 0; it must be from 1 to 65535",
    ("balance", "fair"): "option balance is 'fair'; it must be round-robin or least-outstanding",
    ("balance", ""): "option balance is ''; it must be round-robin or least-outstanding",
    ("balance", None): "option balance is None; it must be a string",
    ("hedge_calls", 1): "option hedge_calls is 1; it must be True or False",
    ("rpc_retry_budget", -2): "option rpc_retry_budget is -2; it must be at least -1",
    ("rpc_retry_budget", float("nan")): "option rpc_retry_budget is nan; it must be a finite number",
    ("max_waiting_time", -1): "option max_waiting_time is -1; it must be at least 0",
    ("rpc_use_acks", "no"): "option rpc_use_acks is 'no'; it must be True or False",
    ("rpc_use_acks", 0): "option rpc_use_acks is 0; it must be True or False",
    ("rpc_zmq_matchmaker", None): "option rpc_zmq_matchmaker is None; it must be a string",
    ("control_exchange", ""): "option control_exchange is '', which is empty or holds a control character; give a "
    "printable name",
    (
        "control_exchange",
        "a\n",
    ): "option control_exchange is 'a\\n', which is empty or holds a control character; give a printable name",
    (
        "control_exchange",
        "a" * 256,
    ): f"option control_exchange is '{'a' * 256}', which is longer than 255 bytes; give a shorter one",
    ("control_exchange", "\ud800"): "option control_exchange is '\\ud800', which is not valid Unicode text; give a "
    "printable name",
    (
        "rpc_zmq_ipc_dir",
        "run/openstack",
    ): "option rpc_zmq_ipc_dir is 'run/openstack', which is no absolute path; write it from / on",
    (
        "rpc_zmq_advertised_address",
        "node-1:",
    ): "option rpc_zmq_advertised_address is 'node-1:', which has the port ''; it must be a number from 1 to 65535",
    (
        "rpc_zmq_advertised_address",
        "node-1:https",
    ): "option rpc_zmq_advertised_address is 'node-1:https', which has the "
    "port 'https'; it must be a number from 1 to 65535",
    (
        "rpc_zmq_advertised_address",
        "a b",
    ): "option rpc_zmq_advertised_address is 'a b', which is neither a host name nor an IP address",
    (
        "rpc_zmq_advertised_address",
        "::",
    ): "option rpc_zmq_advertised_address is '::', which is every address of a machine, "
    "and none that one can connect to",
    ("rpc_zmq_host", "h:5000"): "option rpc_zmq_host is 'h:5000', which is neither a host name nor an IP address",
    ("rpc_zmq_host", "-"): "option rpc_zmq_host is '-', which is neither a host name nor an IP address",
    ("rpc_zmq_host", "::"): "option rpc_zmq_host is '::', which is every address of a machine, and none that one can "
    "connect to",
    ("subscribe_on", "h:1"): "option subscribe_on is 'h:1'; it must be a tuple",
    (
        "subscribe_on",
        (5,),
    ): "option subscribe_on names 5, which has no port; write host:port, for example 10.0.0.1:5001",
    ("rpc_zmq_host", b"host"): "option rpc_zmq_host is b'host'; it must be a string or None",
    ("zmq_target_update", "60"): "option zmq_target_update is '60'; it must be a number or None",
    ("zmq_target_update", float("nan")): "option zmq_target_update is nan; it must be a finite number",
    ("url", b"zmq+redis://:secret@host"): "option url is of type bytes; it must be a string",
}
"""Options with values that they cannot have, and what is said about each."""


class ValueTests(SynchronousTestCase):
    def test_not_valid(self):
        """A value that is no value of its option is refused in one sentence."""
        for (name, value), text in NOT_VALID.items():
            values: dict[str, Any] = {name: value}
            error = self.assertRaises(ConfigError, Settings, **values)
            self.assertEqual(str(error), text)
            if name != "url":
                error = self.assertRaises(ConfigError, Settings.from_url, "zmq://", **values)
                self.assertEqual(str(error), text)

    def test_unknown(self):
        """An option that does not exist is refused, with what may be meant, wherever it is written."""
        for make in (
            Settings,
            lambda **options: Settings("zmq://", **options),
            lambda **options: Settings.from_url("zmq://", **options),
            lambda **options: attrs.evolve(Settings(), **options),
        ):
            error = self.assertRaises(ConfigError, make, max_route=5)
            self.assertIn(
                "there is no option 'max_route'; did you mean max_routes, max_running_bytes or max_filters?", str(error)
            )

    def test_url(self):
        """What is no transport URL is refused when it is given, and not when it is used; passwords are not shown."""
        for url in ("zmq+redis://:QQQ@[::1]x", "zmq+redis://:QQQ@[::1", "redis://:QQQ@host", "zmq+redis://h\n:QQQ@h"):
            for make in (Settings, Settings.from_url, lambda url: attrs.evolve(Settings(), url=url)):
                error = self.assertRaises(ConfigError, make, url)
                self.assertIn("the transport URL '", str(error))
                self.assertEqual(error.options, ("url",))
                self.assertNotIn("QQQ", str(error))

    def test_at_after_question_mark(self):
        """It may end a password, so it is refused there; an option has it as %40."""
        error = self.assertRaises(ConfigError, Settings.from_url, "zmq+redis://host?control_exchange=QQQ@x")
        self.assertEqual(
            str(error),
            "the transport URL has an @ after its ?; write ? as %3F in a password, and @ as %40 in an option",
        )
        self.assertEqual(Settings.from_url("zmq+redis://host?control_exchange=a%40x").control_exchange, "a@x")

    def test_plus_is_no_space(self):
        for name in ("router-proxy+pub-sub", "router-proxy%2Bpub-sub"):
            settings = Settings.from_url(f"zmq+redis://host?zmq_topology={name}&control_exchange=a%20b")
            self.assertEqual((settings.zmq_topology, settings.control_exchange), ("router-proxy+pub-sub", "a b"))

    def test_twice(self):
        """An option that stands twice in one URL is refused, as in one section of a file; also of a list."""
        for query, name in (
            ("max_routes=5&max_clients=1&max_routes=6", "max_routes"),
            ("subscribe_on=a:1&subscribe_on=b:1", "subscribe_on"),
            ("max_routes=5&max_routes=", "max_routes"),
        ):
            error = self.assertRaises(ConfigError, Settings.from_url, f"zmq://?{query}")
            self.assertEqual(str(error), f"the transport URL gives the option {name!r} twice; take one of them away")
            self.assertEqual(error.options, ("url",))

    def test_overhead(self):
        """What max_message_size says of the bytes around a message is what is counted."""
        self.assertIn(f" with {BATCH_OVERHEAD} around it. ", FIELDS["max_message_size"].help)

    def test_quarantine(self):
        """The first time is not above the most that it grows to."""
        error = self.assertRaises(ConfigError, Settings, quarantine_time=90.0)
        self.assertEqual(
            str(error),
            "option quarantine_time is 90, above quarantine_time_max (60); make it smaller, or quarantine_time_max "
            "larger",
        )
        self.assertEqual(error.options, ("quarantine_time", "quarantine_time_max"))
        for equal in (0.0, 5.0):
            Settings(quarantine_time=equal, quarantine_time_max=equal)

    def test_valid(self):
        """A whole number is a number, and None is what says that an option is unset."""
        settings = Settings(rpc_response_timeout=5, zmq_target_update=None, rpc_zmq_host="host", rpc_use_acks=False)
        self.assertEqual((settings.rpc_response_timeout, settings.refresh_interval), (5, 150))


class MaskTests(SynchronousTestCase):
    def assertMasked(self, text):
        self.assertNotIn("QQQ", text)
        self.assertNotIn("WWW", text)

    def test_no_text(self):
        """What is no text at all is told so, where a program has made it."""
        for odd in (None, 5, b"zmq://"):
            error = self.assertRaises(ConfigError, Settings.from_url, odd)
            self.assertIn(f"the transport URL is of type {type(odd).__name__}; give a text", str(error))

    def test_masked_url(self):
        for url, shown in MASKED.items():
            self.assertEqual(masked_url(url), shown)
            self.assertEqual(masked_url(shown), shown)

    def test_repr(self):
        """The settings show no password, and keep it."""
        settings = Settings.from_url("zmq+redis://:secret@host/0")
        self.assertIn("url='zmq+redis://:***@host/0'", repr(settings))
        self.assertEqual(settings.url, "zmq+redis://:secret@host/0")

    def test_errors(self):
        """No error about a URL shows its password, its traceback included."""
        for name in ("redis", "sqlite", "dummy"):
            for template in SECRET_URLS:
                url = template.format(name)

                def make(url=url):
                    make_matchmaker(Clock(), Settings.from_url(url))
                    Node(Clock(), url)

                try:
                    make()
                except ConfigError as error:
                    shown = [line for line in format_exception(error) if not line.lstrip().startswith("File ")]
                    self.assertMasked("".join(shown))
                else:
                    self.assertEqual(name, "redis")  # some are what it wants

    @settings(max_examples=200, derandomize=True, database=None)
    @given(st.lists(st.sampled_from([*":@/?#%=&+[", "QQQ", "WWW", "max_routes=", "rpc_zmq_host="]), max_size=8))
    def test_every_password(self, pieces):
        """No piece of what may be a password is shown, whatever else the URL can be read as."""
        for name in ("redis", "sqlite", "dummy"):
            try:
                make_matchmaker(Clock(), Settings.from_url(f"zmq+{name}://:{''.join(pieces)}@host"))
            except ConfigError as error:
                self.assertMasked(str(error))

    def test_commands(self):
        """A URL that is typed where none belongs is not shown either."""

        def refuse(words):
            raise SystemExit(run(words))

        for words in (
            ["call", "--url", "redis://:QQQ@host", "calc", "add"],
            ["call", "--ulr=zmq+redis://:QQQ@host", "--url", "zmq://", "calc", "add"],
            ["call", "--url", "zmq://", "calc", "add", "zmq+redis://:QQQ@host"],
            ["call", "--timeout", "zmq+redis://:QQQ@host", "calc", "add"],
        ):
            self.assertMasked(self.said_by(sys, "stderr", refuse, words))
        for words in (
            ["--app", "os:path", "--url", "redis://:QQQ@host"],
            ["--app", "os:path", "zmq+redis://:QQQ@host"],
            ["--app", "zmq+redis://:QQQ@host", "--url", "zmq://"],
            ["--ulr=zmq+redis://:QQQ@host"],
        ):
            self.patch(os, "environ", {"ZMQRPC_URL": "zmq+redis://:QQQ@host"})
            self.assertMasked(self.said_by(sys, "__stderr__", Options().parseOptions, words))

    def said_by(self, module, stream, act, words):
        said = StringIO()
        self.patch(module, stream, said)
        refused = self.assertRaises(SystemExit, act, words)
        self.assertTrue(said.getvalue(), words)
        return f"{said.getvalue()}{refused}"
