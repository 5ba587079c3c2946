"""That the days of ``make test`` come to what is there for bad days: what no story reaches, no story judges."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.crowd import Crowd
from zmqrpc.core.link import LinkState
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.reply_memory import ReplyMemory
from zmqrpc.core.seen import DuplicateFilter
from zmqrpc.outcomes import Outcomes
from zmqrpc.repetitions import Repetitions
from zmqrpc.requests import Requests
from zmqrpc.test.sim.pool import tell
from zmqrpc.test.sim.test_stories import SEEDS

PLACES = {
    (LinkState, "given_up"): lambda effects: True,
    (PendingCalls, "unheard"): lambda found: bool(found[0]) or found[1],
    (Requests, "_late"): lambda nothing: True,
    (Requests, "abandon"): lambda ended: ended.total() > 0,
    (Outcomes, "given_up"): lambda nothing: True,
    (Crowd, "left"): lambda nothing: True,
    (Repetitions, "copied"): lambda nothing: True,
    (DuplicateFilter, "forget_oldest"): lambda number: number > 0,
    (ReplyMemory, "_take_back"): lambda nothing: True,
}
"""What is to be reached, and whether a call of it that returned so has done anything."""


class ReachedTests(SynchronousTestCase):
    def setUp(self):
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)

    def test_all(self):
        missing = dict(PLACES)

        def watch(place, counts):
            owner, name = place
            method = getattr(owner, name)

            def call(*arguments):
                result = method(*arguments)
                if counts(result):
                    missing.pop(place, None)
                return result

            self.patch(owner, name, call)

        for place, counts in PLACES.items():
            watch(place, counts)
        for seed in range(SEEDS):
            if not missing:
                break
            tell(seed)
        self.flushLoggedErrors()
        self.assertEqual([f"{owner.__name__}.{name}" for owner, name in missing], [])
