"""Processes that serve hang, and go on, while others call them."""

from __future__ import annotations

from itertools import product
from typing import Any

from zmqrpc.test.oslo.processes import OsloTestCase

HANGS = 1.5
"""Seconds for which a server hangs, and as long as a call waits that may be silent for one."""

LATE = 5.0
"""Seconds within which a call that may be silent for one has ended, on a machine that is busy."""
WATCHES: dict[str, dict[str, Any]] = {
    "not": {},
    "patiently": {"call_monitor_timeout": 20},
    "closely": {"call_monitor_timeout": 1},
}
"""How a call looks after its server."""


class HangingTests(OsloTestCase):
    def test_goes_on(self):
        """Calls end with the silence that they allow, or else with their answer, be they taken before it or in it."""
        children = {green: (self.child(green), self.child(green)) for green in (False, True)}
        begun: dict[tuple[Any, ...], int] = {}

        def begin(when: str, method: str, **more: Any) -> None:
            for (green, (_, client)), how in product(children.items(), WATCHES):
                whom = {"topic": f"hangs-{green}", "timeout": 25, **WATCHES[how]}
                begun[green, when, how] = client.begin("seconds", what="call", method=method, **whom, **more)

        for green, (server, client) in children.items():
            server.do("serve", topic=f"hangs-{green}", server="one")
            client.do("call", topic=f"hangs-{green}", method="name")
        begin("before", "wait", args={"gate": "later"})
        for server, _ in children.values():
            server.hears(len(WATCHES))
            server.stop_running()
        begin("meanwhile", "name")
        for which in [which for which in begun if which[2] == "closely"]:
            seconds, error = children[which[0]][1].ended(begun.pop(which))
            self.assertLess(seconds, LATE, (which, error))
            self.assertIn("MessagingTimeout", error["kinds"], which)
            self.assertRegex(
                error["text"], "(silent for|nobody has taken the call within).*call_monitor_timeout", which
            )
            self.assertIn("it may have run", error["text"], which)
        self.pause(HANGS)
        for which, number in begun.items():
            self.assertFalse(children[which[0]][1].has_ended(number), which)
        for server, _ in children.values():
            server.run_again()
            server.do("open", gate="later")
        for which, number in begun.items():
            self.assertIsNone(children[which[0]][1].ended(number)[1], which)
        for green, (server, client) in children.items():
            self.assertEqual(client.do("call", topic=f"hangs-{green}", method="name", call_monitor_timeout=1), "one")
            self.assertEqual((client.leave(), client.err, server.leave(), server.err), (0, "", 0, ""))

    def test_client_hangs(self):
        """What a client has not heard while it hung itself is not held against its server."""
        children = {green: (self.child(green), self.child(green)) for green in (False, True)}
        begun: list[tuple[bool, bool, int]] = []
        for green, (server, client) in children.items():
            server.do("serve", topic=f"client-{green}", server="one")
            client.do("call", topic=f"client-{green}", method="name")
            slow = {"what": "call", "topic": f"client-{green}", "method": "slow", "args": {"seconds": HANGS + 2}}
            for in_time, times in ((True, {"timeout": 25, "call_monitor_timeout": 1}), (False, {"timeout": 1})):
                begun += [(green, in_time, client.begin("seconds", **slow, **times)) for _ in range(2)]
            server.hears(4)
            client.stop_running()
        self.pause(HANGS + 1)
        for _, client in children.values():
            client.run_again()
        for green, in_time, number in begun:
            _, error = children[green][1].ended(number)
            if in_time:
                self.assertIsNone(error)
            else:
                # Whoever sees first that it is late.
                self.assertIn("MessagingTimeout", error["kinds"], error["text"])
