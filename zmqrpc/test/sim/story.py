"""One bad day, from its seed to what was broken in it."""

from __future__ import annotations

from zmqrpc.test.sim.bounds import passed
from zmqrpc.test.sim.counters import Lost
from zmqrpc.test.sim.faults import Faults
from zmqrpc.test.sim.load import Load
from zmqrpc.test.sim.system import DRIFT, Place, System
from zmqrpc.test.sim.watch import Watch
from zmqrpc.testing import Stuck

Way = tuple[Place, Place]
"""From a client to a server."""

WELL_SECONDS = 12.0
"""Within which calls succeed again once everything has healed."""

LONGEST_STAND = 3.0
"""For how long a process may stand within that time."""

SLACK = 0.02
"""Seconds after its deadline by which a call has ended, where no process is slow."""


class Story:
    """
    A system, what is asked of it, and what befalls it.

    :param seed: what everything is drawn from.
    :ivar network: the network.
    :ivar events: what befell whom.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.system = System(seed)
        self._load, self._faults = Load(self.system), Faults(self.system)
        self._broken: list[str] = []
        # A client that stands ends its calls when it goes on.
        self._late = self.system.longest_stand + 2
        self.network, self.events, self.history = self.system.network, self.system.events, self.system.history

    def run(self) -> None:
        """Let the day pass, heal everything, see that calls succeed again, and stop."""
        try:
            self._run()
        except Stuck as error:
            self._broken.append(str(error))

    def _run(self) -> None:
        network, chance = self.network, self.system.chance
        network.run(0.1)
        self._load.warm_up()
        seconds = chance.uniform(8, 16) if self.system.long else chance.uniform(0.3, 2.2)
        asks, fails = (
            (chance.randint(10, 22), chance.randint(3, 12))
            if self.system.long
            else (chance.randint(4, 16), chance.randint(1, 10))
        )
        acts = [self._load.ask] * asks + [self._faults.fail] * fails
        plan = sorted(((0.1 + chance.uniform(0, seconds), act) for act in acts), key=lambda planned: planned[0])
        for at, act in plan:
            network.run(max(0.0, at - self.system.now))
            act()
            self._look_at_bounds()
        self._faults.heal()
        if self.system.long and (self.system.tight or self.system.hedges):
            # What runs for long may have all the room that there is.
            self._wait_for_all()
        self._see_that_all_is_well()
        if self.system.publishes:
            # Who has missed one knows it by the next, and then waits for what may still come.
            self._load.fan_out()
        self._wait_for_all()
        if self.system.publishes:
            network.run(1.5)
        self._look_at_bounds()
        self.system.stop_all(30)

    def _look_at_bounds(self) -> None:
        for node in self.network.nodes:
            if node.state != "killed":
                self._broken += passed(node)

    def _wait_for_all(self) -> None:
        asked = self.system.asked
        until = asked.until + self._late
        self.network.run_until(lambda: not asked.waits or self.system.now > until, what="all ends")

    # Afterwards

    def _see_that_all_is_well(self) -> None:
        """Call from each client to each server until it succeeds."""
        places = self.system.places
        clients = [place for place in places if place.role == "client"]
        missing = [(client, server) for client in clients for server in places if server.role == "server"]
        healed_at = self.system.now
        errors: list[str] = []
        # Who stands for very long, perhaps from now on, is well when he goes on.
        while missing and self.system.now < max(healed_at, self.system.all_go_at - LONGEST_STAND) + WELL_SECONDS:
            missing, errors = self._call_each(missing)
        if missing:
            ways = ", ".join(f"{client.host} to {server.host}" for client, server in missing)
            self._broken.append(f"not well {WELL_SECONDS:g} s after everything has healed: {ways}; {errors}")

    def _call_each(self, ways: list[Way]) -> tuple[list[Way], list[str]]:
        """Call by some ways; return those by which no call succeeds, and why."""
        ready = [way for way in ways if way[0].process is not None]
        calls = [self._load.send(client, "call", 1.0, server.host)[0] for client, server in ready]
        self.network.run(0.2)
        self.network.run_until(lambda: all(call.called for call in calls), self._late, "the calls end")
        failed = {
            way: call.result for way, call in zip(ready, calls, strict=True) if isinstance(call.result, Exception)
        }
        return [way for way in ways if way not in ready or way in failed], list(map(str, failed.values()))

    # The verdict

    def verdict(self) -> list[str]:
        """List every broken promise."""
        slack = SLACK + DRIFT * self.system.longest_timeout if self.system.long else SLACK
        judged = self.history.violations(
            ended_within=slack, in_order=self._is_in_order(), most_runs=self.system.most_runs
        )
        left = [f"left behind: {left}" for left in self.system.left()]
        return (
            self._broken
            + self.system.asked.faults
            + judged
            + [*Watch(self.system).faults(), *Lost(self.system).faults()]
            + left
        )

    def _is_in_order(self) -> bool:
        """Tell whether nothing can have been lost on its way, nor refused."""
        system = self.system
        return not (self._faults.broke or system.rough or system.tight or system.little)
