"""What is suggested for a name that does not exist."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.spelling import did_you_mean, meant_or_some, nearest

NAMES = ("max_routes", "max_clients", "--config-file")


class SpellingTests(SynchronousTestCase):
    def test_suggested(self):
        for name, meant in (("max_route", "max_routes"), ("Max-Clients", "max_clients"), ("--config_file", NAMES[2])):
            self.assertEqual(did_you_mean(name, NAMES), f"did you mean {meant}?")

    def test_nothing_like_it(self):
        self.assertEqual(did_you_mean("colour", NAMES), "")

    def test_all_are_named(self):
        self.assertEqual(nearest("max_route", NAMES[:2]), "did you mean max_routes? valid are max_clients, max_routes")
        self.assertEqual(nearest("colour", NAMES[:2]), "valid are max_clients, max_routes")

    def test_some_of_many(self):
        """What is said of many names is short, whatever they are."""
        names = [f"name_{number}" for number in range(20)]
        self.assertEqual(meant_or_some("colour", [], "there are"), "")
        self.assertEqual(meant_or_some("colour", names[:8], "there are"), f"there are {', '.join(names[:8])}")
        self.assertEqual(meant_or_some("colour", names, "there are"), f"there are {', '.join(names[:8])}, and 12 more")
        self.assertEqual(meant_or_some("name-13", names, "there are"), "did you mean name_13?")
        self.assertLess(len(meant_or_some("y" * 10**6, ["x" * 10**6] * 10**4, "there are")), 1000)
