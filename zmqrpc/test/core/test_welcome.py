"""Which WELCOME opens a link: version, role and targets against what the records promise."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.envelope import Served, Welcome
from zmqrpc.core.welcome import misfit_of
from zmqrpc.record import Record, Role

ONE, TWO, MORE = Served("x", "work", "one"), Served("x", "work", "two"), Served("x", "more", "one")


def welcome(*targets: Served, version: int = 1, role: str = "server") -> Welcome:
    return Welcome(version, 0, role, [], {}, list(targets))


def record(topic: str = "work", member: str = "one", role: Role = Role.SERVER, exchange: str = "x") -> Record:
    return Record(role, exchange, topic, member, "", ("tcp://10.0.0.1:1",))


class MisfitTests(SynchronousTestCase):
    # the WELCOME, what leads to it, what the text says; None: it fits, by its targets as well
    ROWS: list[tuple[Welcome, list[Record], str | None]] = [
        (welcome(ONE), [record()], None),
        (welcome(TWO, ONE), [record()], None),
        (welcome(Served("x", "work", "one", "pool")), [record()], None),
        # One address may be in a fixed table for several targets; NACK says which of them are not served after all.
        (welcome(TWO), [record(), record(member="two")], None),
        (welcome(), [], None),
        (welcome(role="sage"), [], None),
        (welcome(), [record()], "it serves nothing, and its record says 'x/work.one'"),
        (welcome(TWO), [record()], "it serves 'x/work.two', and its record says 'x/work.one'"),
        (welcome(MORE), [record()], "it serves 'x/more.one'"),
        (welcome(Served("y", "work", "one")), [record()], "it serves 'y/work.one'"),
        (welcome(Served("x", "work")), [record()], "it serves 'x/work', and"),
        (welcome(TWO), [record(), record("more")], "its record says 'x/work.one', 'x/more.one'"),
        (welcome(*[TWO] * 6), [record()], "it serves 'x/work.two', 'x/work.two', 'x/work.two', 3 more, and"),
    ]

    def test_by_targets(self):
        for answer, records, says in self.ROWS:
            misfit = misfit_of(answer, records, by_target=True)
            self.assertEqual(misfit == "", says is None, f"{answer} for {records}: {misfit}")
            self.assertIn(says or "", misfit)

    def test_the_targets_of_an_instance_that_is_named_do_not_matter(self):
        for answer, records, _ in self.ROWS:
            self.assertEqual(misfit_of(answer, records, by_target=False), "")

    # version, role, roles that are recorded, what the text says
    OTHERS: list[tuple[int, str, list[Role], str]] = [
        (1, "server", [Role.SERVER], ""),
        (1, "router", [Role.ROUTER], ""),
        (1, "publisher", [Role.PUBLISHER], ""),
        (1, "router", [Role.SERVER, Role.ROUTER], ""),
        (1, "server", [Role.LISTENER], ""),
        (1, "server", [Role.LISTENER, Role.SERVER], ""),
        (1, "listener", [Role.LISTENER], "it is a 'listener', and its record says server"),
        (1, "client", [], ""),
        (0, "server", [Role.SERVER], "it speaks wire version 0, and 1 was offered"),
        (2, "server", [Role.SERVER], "it speaks wire version 2, and 1 was offered"),
        (2, "server", [], "it speaks wire version 2, and 1 was offered"),
        (1, "client", [Role.SERVER], "it is a 'client', and its record says server"),
        (1, "router", [Role.SERVER], "it is a 'router', and its record says server"),
        (1, "server", [Role.ROUTER], "it is a 'server', and its record says router"),
        (1, "", [Role.SERVER], "it is a '', and its record says server"),
        (1, "sage", [Role.SERVER, Role.ROUTER], "it is a 'sage', and its record says router or server"),
    ]

    def test_version_and_role(self):
        for version, role, roles, says in self.OTHERS:
            for by_target in (False, True):
                answer = welcome(ONE, version=version, role=role)
                misfit = misfit_of(answer, [record(role=role) for role in roles], by_target)
                self.assertEqual(misfit, says, f"{version} {role} {roles}")

    def test_a_proxy_serves_no_targets(self):
        self.assertEqual(misfit_of(welcome(role="router"), [record(role=Role.ROUTER)], by_target=True), "")

    def test_what_a_peer_wrote_is_short_and_harmless_in_a_log(self):
        hostile = "\x1b[2J\n\N{BELL}" * 10**5
        for answer in (welcome(role=hostile), welcome(*[Served(hostile, hostile, hostile)] * 1000)):
            misfit = misfit_of(answer, [record()], by_target=True)
            self.assertLess(len(misfit), 2500)
            self.assertTrue(misfit.isprintable(), misfit)
