"""Addresses as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.address import check_host, is_wildcard, numeric, split_address, split_host, tcp_address

GOOD = {
    "10.0.0.1:5001": ("10.0.0.1", 5001),
    "[::1]:1": ("::1", 1),
    "[2001:DB8:0:0::2]:65535": ("2001:db8::2", 65535),
    "[fe80::1%eth0]:5": ("fe80::1%eth0", 5),
    "node-1:80": ("node-1", 80),
    "Node-1.Example.org.:80": ("node-1.example.org.", 80),
    "my_service:80": ("my_service", 80),
    "1and1.example:80": ("1and1.example", 80),
}

BAD = {
    "": "has no port",
    "node-1": "has no port",
    "10.0.0.1:": "has the port ''",
    "10.0.0.1:0": "has the port '0'; it must be a number from 1 to 65535",
    "10.0.0.1:65536": "has the port '65536'",
    "10.0.0.1:+5": "has the port '+5'",
    "10.0.0.1:\N{ARABIC-INDIC DIGIT FIVE}": "has the port",
    "10.0.0.1:5 ": "has the port '5 '",
    "10.0.0.1:https": "has the port 'https'",
    "::1:5001": "write an IPv6 address in []",
    "tcp://node-1:5001": "is not host:port",
    "[::1:5001": "is not host:port",
    "[node-1]:5": "has the host '[node-1]', which is neither a host name nor an IP address",
    "[10.0.0.1]:5": "neither a host name",
    "10.0.0.256:5": "neither a host name",
    "10.0.0:5": "neither a host name",
    ":5": "has the host ''",
    "a b:5": "neither a host name",
    "-a:5": "neither a host name",
    "a-:5": "neither a host name",
    "a..b:5": "neither a host name",
    "*:5": "neither a host name",
    "knöten:5": "neither a host name",
    f"{'a' * 64}:5": "neither a host name",
    f"{'a.' * 127}a:5": "neither a host name",
    "0.0.0.0:5": "is every address of a machine",
    "[::]:5": "is every address of a machine",
}


class AddressTests(SynchronousTestCase):
    def test_good(self):
        for text, read in GOOD.items():
            self.assertEqual(split_address(text), read, text)
            self.assertEqual(split_address(tcp_address(*read).removeprefix("tcp://")), read)

    def test_without_port(self):
        """The port may be left out, and IPv6 needs no brackets then."""
        for text, read in (GOOD | {"a": ("a", None), "::1": ("::1", None), "[::1]": ("::1", None)}).items():
            self.assertEqual(split_host(text), read, text)
        for text in BAD.keys() - {"node-1", "::1:5001"}:
            self.assertRaises(ValueError, split_host, text)

    def test_bad(self):
        for text, reason in BAD.items():
            self.assertIn(reason, str(self.assertRaises(ValueError, split_address, text)), text)

    def test_hosts(self):
        """A host that stands alone may have the brackets of IPv6, or not."""
        for host in ("::1", "[::1]", "0::1"):
            self.assertEqual(check_host(host), "::1")
        for host in ("node-1:5", "tcp://node-1", "", "[10.0.0.1]"):
            self.assertRaises(ValueError, check_host, host)

    def test_wildcards(self):
        self.assertTrue(all(map(is_wildcard, ("*", "0.0.0.0", "::", "[::]", "0::0"))))
        self.assertFalse(any(map(is_wildcard, ("", "eth0", "127.0.0.1", "::1", "0.0.0"))))

    def test_numeric(self):
        self.assertEqual([numeric(host) is None for host in ("10.0.0.1", "::1", "[::1]", "eth0")], [0, 0, 0, 1])

    @given(st.text())
    def test_any_text(self, text):
        """Whatever it is, it is refused with a sentence, or comes back as it is written."""
        try:
            read = split_address(text)
        except ValueError:
            return
        self.assertEqual(split_address(tcp_address(*read).removeprefix("tcp://")), read)
