"""Which proxies the records of them mean."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.known_proxies import known_proxies
from zmqrpc.record import PROXIES, Record, Role

INSTANCE = "ab" * 16
FRONT, BACK, PUB = "tcp://10.0.0.1:1", "tcp://10.0.0.1:2", "tcp://10.0.0.1:3"


def record(role, *addresses, instance=INSTANCE):
    return Record(role, *PROXIES, "host", instance, addresses)


class KnownProxiesTests(SynchronousTestCase):
    def test_one_that_routes(self):
        [(key, proxy)] = known_proxies([record(Role.ROUTER, FRONT, BACK)]).items()
        self.assertEqual((key, proxy.frontend, proxy.backend, proxy.publishes), (INSTANCE, FRONT, BACK, False))
        self.assertEqual((proxy.member, proxy.instance), ("host", bytes.fromhex(INSTANCE)))

    def test_one_socket_for_both(self):
        [proxy] = known_proxies([record(Role.ROUTER, FRONT)]).values()
        self.assertEqual((proxy.frontend, proxy.backend), (FRONT, FRONT))

    def test_two_records_of_one(self):
        records = [record(Role.PUBLISHER, FRONT, PUB), record(Role.ROUTER, FRONT, BACK)]
        for order in (records, records[::-1]):
            [proxy] = known_proxies(order).values()
            self.assertEqual((proxy.frontend, proxy.backend, proxy.publishes), (FRONT, BACK, True))

    def test_one_that_only_publishes(self):
        [proxy] = known_proxies([record(Role.PUBLISHER, FRONT, PUB)]).values()
        self.assertEqual((proxy.frontend, proxy.backend, proxy.publishes), (FRONT, None, True))

    def test_in_a_fixed_table(self):
        """Without an instance it is known by where clients connect."""
        records = [record(Role.ROUTER, FRONT, BACK, instance=""), record(Role.PUBLISHER, FRONT, PUB, instance="")]
        [(key, proxy)] = known_proxies(records).items()
        self.assertEqual((key, proxy.instance, proxy.backend, proxy.publishes), (FRONT, None, BACK, True))

    def test_others_are_none(self):
        self.assertEqual(known_proxies([record(Role.SERVER, FRONT), record(Role.LISTENER, FRONT)]), {})
