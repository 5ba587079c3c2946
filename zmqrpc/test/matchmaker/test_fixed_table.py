"""What a fixed table may say, and what is said about one that cannot be used."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.matchmaker._fixed_table import FixedTable
from zmqrpc.matchmaker._lines import Pairs, Text, read_lines
from zmqrpc.record import PROXIES, SIDES, Record, Role

WRONG = {
    "": "line 1: this is no JSON: Expecting value",
    "{": "line 1: this is no JSON: Expecting property name",
    '{"compute": ["a:1"],\n\n "agent": ["b:1"],}': "line 3: ",
    '{"compute"\n["a:1"]}': "line 2: this is no JSON: Expecting ':' delimiter",
    "[" * 100000: "nested too deeply",
    "null": 'this is no object; write {"topic": ["host:port", ...]} or',
    '["a:1"]': "line 1: this is no object",
    "NaN": "this is no object",
    '{"compute": "a:1"}': "'compute' has neither a list nor an object of addresses; write {",
    '{"compute": 7}': "'compute' has neither a list",
    '{"compute": [7]}': "line 1: 'compute' has no address",
    '{"compute": [["a:1"]]}': "'compute' has no address",
    '{"compute":\n {"one": "a:1",\n "two": 5001}}': "line 3: 'two' has no address",
    '{"compute":\n ["a:1",\n "b"]}': "line 3: 'b' has no port; write host:port, for example 10.0.0.1:5001",
    '{"compute": {"one": "10.0.0.256:1"}}': "'10.0.0.256:1' has the host '10.0.0.256', which is neither",
    '{"compute": {"one": "*:1"}}': "neither a host name nor an IP address",
    '{"compute": ["a:1"],\n "compute": ["b:1"]}': "line 2: 'compute' is the topic openstack/compute a second time",
    '{"compute": ["a:1"],\n "openstack/compute": ["b:1"]}': "line 2: 'openstack/compute' is the topic openstack/",
    '{"compute": {"one": "a:1",\n "one": "b:1"}}': "line 2: 'one' is in line 1 already; write it once",
    '{"compute": {"one": "a:1",\n "two": "A:1"}}': "line 2: 'A:1' is the address of both one and two; give each",
    '{"compute": ["a:1",\n "A:1"]}': "line 2: 'A:1' is in line 1 already; write it once",
    '{"compute": ["a:1",\n "a:2"]}': 'name them instead, {"compute": {"a": "a:1", "b": "a:2"}}',
    '{"": ["a:1"]}': "line 1: the topic '' is empty",
    '{"/compute": ["a:1"]}': "the exchange '' is empty",
    '{"nova/": ["a:1"]}': "the topic '' is empty",
    '{"comp\\u0000ute": ["a:1"]}': "holds a control character",
    '{"\\ud800": ["a:1"]}': "not valid Unicode",
    '{"compute": {\n"": "a:1"}}': "line 2: the member '' is empty",
    '{"$publisher": {}}': "is no topic, as it begins with $; the keys that do are $proxies and $publishers",
    '{"$proxies": ["a:1"]}': "'$proxies' has no object of entries",
    '{"$proxies": {"one": 7}}': "'one' has neither \"host:port\" nor an object with frontend and backend",
    '{"$proxies": {"one": {}}}': "'one' has neither",
    '{"$proxies": {"one": {"publisher": "a:1"}}}': "'publisher' is nothing that one can have; valid are frontend and",
    '{"$publishers": {"one": {"frontend": "b:1", "publisher": "a"}}}': "'a' has no port",
    '{"$proxies": {"one": "a:1",\n "two": {"frontend": "a:1"}}}': "line 2: 'a:1' is the address of both one and two",
    '{"$proxies": {"one": {"backend": "a:1"}}}': '\'one\' names no frontend; write {"frontend": "host:port", "back',
    '{"$publishers": {"one": "a:1"}}': "'one' has not an object with frontend and publisher",
    '{"$publishers": {"one": {"frontend": "a:1"}}}': "'one' names no publisher; write {\"frontend\": ",
    '{"$publishers": {"one": {"publisher": "a:1"}}}': "'one' names no frontend; write",
    '{"$proxies": {"one": "a:1", "one": "b:1"}}': "'one' is in line 1 already",
    '{"$proxies": {"one": {"frontend": "a:1", "frontend": "b:1"}}}': "'frontend' is in line 1 already",
    '{"$proxies": {},\n "$proxies": {}}': "line 2: '$proxies' is in line 1 already",
}


def record(member, address, topic="compute", exchange="openstack"):
    return Record(Role.SERVER, exchange, topic, member, addresses=(f"tcp://{address}",))


def proxy(role, member, *addresses):
    return Record(role, *PROXIES, member, addresses=[f"tcp://{address}" for address in addresses])


class FixedTableTests(SynchronousTestCase):
    def test_both_forms(self):
        """A list names its members by their hosts, an object names them itself; topics may name their exchange."""
        table = FixedTable(
            """{
                "compute": ["Node-1:5001", "10.0.0.2:5001", "[2001:DB8::2]:5001"],
                "agent": {"one": "node-1:5001", "two": "node-1:5002"},
                "nova/a/b": {"one": "node-1:5001"},
                "nova/$odd": {},
                "idle": [],
                "$proxies": {"p": {"frontend": "node-1:1", "backend": "node-1:2"}, "q": "node-1:3"},
                "$publishers": {"p": {"frontend": "node-1:1", "publisher": "node-1:4"}}
            }""",
            "openstack",
        )
        self.assertEqual(
            table.records(),
            [
                record("Node-1", "node-1:5001"),
                record("10.0.0.2", "10.0.0.2:5001"),
                record("2001:DB8::2", "[2001:db8::2]:5001"),
                record("one", "node-1:5001", "agent"),
                record("two", "node-1:5002", "agent"),
                record("one", "node-1:5001", "a/b", "nova"),
                proxy(Role.ROUTER, "p", "node-1:1", "node-1:2"),
                proxy(Role.ROUTER, "q", "node-1:3"),
                proxy(Role.PUBLISHER, "p", "node-1:1", "node-1:4"),
            ],
        )
        self.assertEqual(table.of_topic(PROXIES), table.records()[-3:])
        self.assertEqual(list(table.topics)[-2:], [("nova", "$odd"), ("openstack", "idle")])

    def test_line(self):
        """The line of a member is found, or what there is instead is said."""
        table = FixedTable('{"compute": {"one": "a:1", "two": "[::1]:2"}, "nova/idle": []}', "openstack")
        self.assertEqual(table.line(("openstack", "compute"), "two").address, "[::1]:2")
        for topic, member, text in (
            (("nova", "compute"), "one", "no topic nova/compute; its topics are nova/idle, openstack/compute"),
            (
                ("openstack", "compute"),
                "three",
                "no member three under the topic openstack/compute; its members are one",
            ),
            (("nova", "idle"), "one", "its members are none"),
        ):
            self.assertIn(text, str(self.assertRaises(LookupError, table.line, topic, member)))
        self.assertIn("are none", str(self.assertRaises(LookupError, FixedTable("{}", "x").line, ("x", "y"), "z")))

    def test_has(self):
        """It has what leads to the same address, whoever says so."""
        table = FixedTable('{"compute": {"one": "a:1"}}', "openstack")
        self.assertTrue(table.has(record("one", "a:1")))
        for other in (record("one", "a:2"), record("two", "a:1"), record("one", "a:1", "agent")):
            self.assertFalse(table.has(other))

    def test_sockets_of_proxies(self):
        """Each socket of a proxy has its line, one that is both sides has one for both."""
        table = FixedTable(
            """{
                "$proxies": {"p": {"frontend": "a:1", "backend": "a:2"}, "q": "[::1]:3"},
                "$publishers": {
                    "p": {"frontend": "a:1", "publisher": "a:4"},
                    "r": {"frontend": "b:1", "publisher": "b:2"}
                }
            }""",
            "openstack",
        )
        for member, *sockets in (
            ("p", "a:1", "a:2", "a:4"),
            ("q", "[::1]:3", "[::1]:3", None),
            ("r", "b:1", None, "b:2"),
        ):
            self.assertEqual([table.socket_of(member, side) for side in SIDES], sockets)
        self.assertIn(
            "no proxy x; its proxies are p, q, r", str(self.assertRaises(LookupError, table.socket_of, "x", ""))
        )
        self.assertTrue(table.has(proxy(Role.PUBLISHER, "p", "a:1", "a:4")))
        self.assertFalse(table.has(proxy(Role.ROUTER, "p", "a:1", "a:4")))

    def test_wrong(self):
        """The line, the culprit, and what is valid."""
        for text, reason in WRONG.items():
            said = str(self.assertRaises(ValueError, FixedTable, text, "openstack"))
            self.assertIn(reason, said, text[:80])
            self.assertRegex(said, r"^line \d+: [^\n]+$")


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def plain(value):
    if isinstance(value, Pairs):
        return {plain(name): plain(inner) for name, inner in value}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def strings(value):
    if isinstance(value, Text):
        yield value
    elif isinstance(value, Pairs):
        for name, inner in value:
            yield from strings(name)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


class LinesTests(SynchronousTestCase):
    @given(documents, st.sampled_from([None, 1]), st.booleans())
    def test_any_document(self, document, indent, ascii):
        """What is read is what JSON says, and every string stands in the line that it says."""
        text = json.dumps(document, indent=indent, ensure_ascii=ascii)
        read = read_lines(text)
        self.assertEqual(plain(read), document)
        lines = text.split("\n")
        for found in strings(read):
            self.assertIn(json.dumps(found, ensure_ascii=ascii), lines[found.line - 1])
