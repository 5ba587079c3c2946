"""Values as the command line reads and writes them."""

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli._json import NotSendable, from_json, read_argument, to_json

INFINITY = float("inf")


class JSONTests(SynchronousTestCase):
    def test_there_and_back(self):
        for value, text in (
            (None, "null"),
            (True, "true"),
            (2**63, "9223372036854775808"),
            (0.1, "0.1"),
            ("ä\n", '"ä\\n"'),
            ([1, [2]], "[1, [2]]"),
            ({"a": {"b": 1}}, '{"a": {"b": 1}}'),
            (b"hi", '{"$bytes": "aGk="}'),
            ([b"", {"x": b"\xff"}], '[{"$bytes": ""}, {"x": {"$bytes": "/w=="}}]'),
            ([INFINITY, -INFINITY], '[{"$float": "Infinity"}, {"$float": "-Infinity"}]'),
        ):
            self.assertEqual(to_json(value), text)
            self.assertEqual(from_json(text), value)

    def test_tuple(self):
        self.assertEqual(to_json((1, 2)), "[1, 2]")

    def test_argument(self):
        """What is not JSON is a string."""
        for text, value in (
            ("1", 1),
            ("-1.5", -1.5),
            ("true", True),
            ("null", None),
            ('"1"', "1"),
            ("ada", "ada"),
            ("", ""),
            ("a=b", "a=b"),
            ("[1,", "[1,"),
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
            ("1 2", "1 2"),
            ('{"$bytes": "aGk=", "b": 1}', {"$bytes": "aGk=", "b": 1}),
            ('{"$bytes": 5}', {"$bytes": 5}),
        ):
            self.assertEqual(read_argument(text), value)

    def test_not_sendable(self):
        """What is JSON and cannot be sent is an error, and no string."""
        for text, why in (
            ('{"$bytes": "*"}', "not base64"),
            ('[{"$float": "NaN"}]', "neither"),
            ("[" * 100000, "nested too deeply"),
            ("[" * 100000 + "]" * 100000, "nested too deeply"),
            ("9" * 5000, "has 5000 digits"),
            ("-" + "9" * 200, "has 200 digits"),
            ("1e999", "larger than a float"),
            ('[{"a": 1, "b": 2, "a": 3}]', "'a' is in one object twice"),
        ):
            self.assertIn(why, str(self.assertRaises(NotSendable, read_argument, text)))
            self.assertIn(why, str(self.assertRaises(NotSendable, from_json, text)))
        self.assertEqual(read_argument('{"$float": []}'), {"$float": []})

    def test_not_json(self):
        for text in ("ada", "NaN", "[NaN]", "", "[1,"):
            error = self.assertRaises(ValueError, from_json, text)
            self.assertNotIsInstance(error, NotSendable)
