"""That a story is judged by the options that its processes have drawn."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.sim.story import Story
from zmqrpc.test.sim.system import OTHERS, TOPIC

OPTION = "rpc_retry_attempts"


class MostRunsTests(SynchronousTestCase):
    def story(self, attempts):
        """Begin the first story in which a client has drawn so many attempts; return it and that client's instance."""
        for seed in range(1000):
            story = Story(seed)
            for place in story.system.of("client"):
                if place.options.get(OPTION) == attempts and not place.options.get("hedge_calls"):
                    return story, place.process.instance.hex()
            story.network.close()
        raise AssertionError(f"no client has {OPTION} = {attempts}")

    def faults(self, attempts, runs):
        """Have something idempotent run so often, and return what the verdict says of that."""
        story, client = self.story(attempts)
        self.addCleanup(story.network.close)
        story.history.invoke("it", client, "call", 5.0, idempotent=True)
        answers = [story.history.ran("it", TOPIC, "aaaa") for _ in range(runs)]
        story.history.ended("it", answers[-1])
        return [fault for fault in story.verdict() if " times: " in fault]

    def test_each_that_is_drawn(self):
        for attempts in OTHERS[OPTION]:
            most = 1 + attempts if attempts >= 0 else 50
            self.assertEqual(self.faults(attempts, most), [])
            if attempts >= 0:
                (fault,) = self.faults(attempts, most + 1)
                self.assertIn(f"ran {most + 1} times: ", fault)
