"""What is suggested for a name that does not exist."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.spelling import did_you_mean, meant_or_all, meant_or_some, nearest, printable, shown

NAMES = ("max_routes", "max_clients", "--config-file")


class SpellingTests(SynchronousTestCase):
    def test_suggested(self):
        for name, meant in (("max_route", "max_routes"), ("Max-Clients", "max_clients"), ("--config_file", NAMES[2])):
            self.assertEqual(did_you_mean(name, NAMES), f"did you mean {meant}?")

    def test_nothing_like_it(self):
        self.assertEqual(did_you_mean("colour", NAMES), "")

    def test_all_are_named(self):
        """The closest come first, three at most, and then where all are."""
        names = ("max_routes", "max_route", "max_routers", "max_routing", "drain_timeout")
        for name, asked in (
            ("max_routs", "did you mean max_routes, max_routers or max_route? "),
            ("drain-timout", "did you mean drain_timeout? "),
            ("colour", ""),
        ):
            self.assertEqual(nearest(name, names), f"{asked}zmqrpc config lists all options")
        self.assertEqual(nearest("max_rou", names[3:], "look there"), "did you mean max_routing? look there")

    def test_few_are_all_named(self):
        self.assertEqual(meant_or_all("max_route", NAMES[:2]), "did you mean max_routes?")
        self.assertEqual(meant_or_all("colour", NAMES[:2]), "valid are max_routes, max_clients")

    def test_some_of_many(self):
        """What is said of many names is short, whatever they are."""
        names = [f"name_{number}" for number in range(20)]
        self.assertEqual(meant_or_some("colour", [], "there are"), "")
        self.assertEqual(meant_or_some("colour", names[:8], "there are"), f"there are {', '.join(names[:8])}")
        self.assertEqual(meant_or_some("colour", names, "there are"), f"there are {', '.join(names[:8])}, and 12 more")
        self.assertEqual(meant_or_some("name-13", names, "there are"), "did you mean name_13?")
        self.assertLess(len(meant_or_some("y" * 10**6, ["x" * 10**6] * 10**4, "there are")), 1000)


class PrintableTests(SynchronousTestCase):
    """What others have written."""

    def test_rows(self):
        for text, most, said in (
            ("", None, ""),
            ("naïve 名 'x'", None, "naïve 名 'x'"),
            ("a\nb\x1b[2J", None, "a\\nb\\x1b[2J"),
            ("\u202e\udc80\x00", None, "\\u202e\\udc80\\x00"),
            ("abcdef", 4, "abcd"),
            # The bound is that of what is written.
            ("\n" * 10, 4, "\\n\\n"),
        ):
            self.assertEqual(printable(text, most), said)

    def test_shown(self):
        for text in ("x" * 10_000, "\n" * 10_000):
            self.assertEqual(len(shown(text)), 255)
            self.assertTrue(shown(text).isprintable())
