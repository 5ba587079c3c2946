"""The meaning of the three booleans: all eight rows."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.plan import DYNAMIC, PUBLISHED, ROUTED, STATIC, check_matchmaker, plan_for, plan_named
from zmqrpc.errors import ConfigError

# use_pub_sub, use_router_proxy, use_dynamic_connections: name, calls go by, fan-outs go by, whether it warns
ROWS = {
    (False, False, False): ("static-direct", STATIC, STATIC, False),
    (False, False, True): ("dynamic-direct", DYNAMIC, DYNAMIC, False),
    (False, True, False): ("router-proxy", ROUTED, ROUTED, False),
    (False, True, True): ("router-proxy", ROUTED, ROUTED, True),
    (True, False, False): ("static-direct+pub-sub", STATIC, PUBLISHED, False),
    (True, False, True): ("dynamic-direct+pub-sub", DYNAMIC, PUBLISHED, False),
    (True, True, False): ("router-proxy+pub-sub", ROUTED, PUBLISHED, False),
    (True, True, True): ("router-proxy+pub-sub", ROUTED, PUBLISHED, True),
}
NAMES = sorted({name for name, *_ in ROWS.values()})


class PlanTests(SynchronousTestCase):
    def test_rows(self):
        self.assertEqual(list(ROWS), list(product((False, True), repeat=3)))
        for booleans, row in ROWS.items():
            plan = plan_for(*booleans)
            self.assertEqual((plan.name, plan.calls, plan.fanouts, bool(plan.warning)), row, f"{booleans}")

    def test_servers_subscribe_when_fanouts_are_published(self):
        for use_pub_sub, use_router_proxy, use_dynamic_connections in ROWS:
            plan = plan_for(use_pub_sub, use_router_proxy, use_dynamic_connections)
            self.assertEqual(plan.subscribes, use_pub_sub)

    def test_the_warning_names_both_options(self):
        warning = plan_for(False, True, True).warning
        self.assertIn("use_dynamic_connections", warning)
        self.assertIn("use_router_proxy", warning)

    def test_every_plan_has_one_name(self):
        self.assertEqual(len(NAMES), 6)
        for booleans, (name, _, _, warns) in ROWS.items():
            if not warns:
                self.assertEqual(plan_named(name), plan_for(*booleans))

    def test_a_plan_by_name_does_not_warn(self):
        self.assertEqual([plan_named(name).warning for name in NAMES], [""] * 6)

    def test_any_other_name_is_that_of_a_plugin_which_serves_all(self):
        plan = plan_named("star")
        self.assertEqual((plan.name, plan.calls, plan.fanouts, plan.warning), ("star", "star", "star", ""))
        self.assertEqual((plan.subscribes, plan.needs_proxies), (False, False))

    def test_proxies_need_a_matchmaker_that_tells_instances(self):
        for name in ("router-proxy", "router-proxy+pub-sub"):
            error = self.assertRaises(ConfigError, check_matchmaker, plan_named(name), "file")
            self.assertIn(f"the topology {name} cannot be served with the matchmaker file", str(error))
            for matchmaker in ("redis", "sqlite", "sentinel", "etcd", "theirs"):
                self.assertEqual(check_matchmaker(plan_named(name), matchmaker), "")
        self.assertEqual(check_matchmaker(plan_named("static-direct"), "file"), "")

    def test_a_fixed_table_does_not_tell_who_subscribes(self):
        for name in ("static-direct+pub-sub", "dynamic-direct+pub-sub"):
            self.assertIn("fan-outs go to each member by itself", check_matchmaker(plan_named(name), "file"))
            self.assertEqual(check_matchmaker(plan_named(name), "sqlite"), "")
