"""That stories find what is broken: a judge that never complained proves nothing."""

from __future__ import annotations

import gc
import re
from inspect import isfunction

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.sim import mutations
from zmqrpc.test.sim.pool import tell
from zmqrpc.test.sim.system import LONG_EVERY, LONG_FIRST

LONG_SEEDS = range(LONG_FIRST, 10_000, LONG_EVERY)
TWICE = "ran more than once at one instance|ran at more than one instance"


class MutationTests(SynchronousTestCase):
    """
    Each breaks one promise in one place.

    Any change of the code makes other stories of all seeds. So the bounds are five times and more the number of seeds
    that it takes on average, from 2 to 100: what is behind them is no chance.
    """

    def setUp(self):
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)

    def check(self, mutate, sentence, within, long=False):
        """
        Break something, and tell stories until one finds it.

        :param sentence: a pattern of what it has to say.
        :param within: by how many seeds at most.
        :param long: whether only long days are told.
        """
        mutate(self.patch)
        for seed in LONG_SEEDS[:within] if long else range(within):
            if any(re.match(sentence, violation) for violation in tell(seed).violations):
                break
        else:
            self.fail(f"{within} stories have not found that {mutate.__doc__}")
        # What fails where a rule is broken is logged when it is collected, which may be in another test.
        gc.collect()
        self.flushLoggedErrors()

    def test_no_filter(self):
        self.check(mutations.no_filter, TWICE, within=40)

    def test_no_fencing(self):
        self.check(
            mutations.no_fencing, f"{TWICE}|a wrong result|a wrong error|ran at an instance that is not", within=120
        )

    def test_acknowledged_unread(self):
        self.check(mutations.acknowledged_unread, "said to be done, and did not run|1 pools are said", within=200)

    def test_again_elsewhere(self):
        self.check(mutations.again_elsewhere, TWICE, within=400)

    def test_no_deadline(self):
        self.check(mutations.no_deadline, "began to run .* after its deadline", within=400)

    def test_said_not_to_have_run(self):
        self.check(mutations.said_not_to_have_run, "ran.*, though its error says that it did not", within=120)

    def test_forgotten(self):
        self.check(mutations.forgotten, "never ended", within=20)

    def test_never_unheard(self):
        self.check(mutations.never_unheard, "waits .* for who stands", within=250, long=True)

    def test_never_abandoned(self):
        self.check(mutations.never_abandoned, "runs .* after its client was killed", within=200, long=True)

    def test_hedged_believed(self):
        self.check(mutations.hedged_believed, "ran.*, though its error says that it did not", within=350)

    def test_repeated_unsent(self):
        sentence = f"{TWICE}|ran.*, though its error says that it did not"
        self.check(mutations.repeated_unsent, sentence, within=300, long=True)

    def test_uncounted(self):
        self.check(mutations.uncounted, "acknowledged and not run", within=500)

    def test_uninherited(self):
        self.check(mutations.uninherited, "a method has .*, its caller until", within=40)


class AllTests(SynchronousTestCase):
    def test_each_is_tried(self):
        public = {name: thing for name, thing in vars(mutations).items() if isfunction(thing) and name[0] != "_"}
        names = [f"test_{name}" for name, thing in public.items() if thing.__module__ == mutations.__name__]
        self.assertGreaterEqual(len(names), 13)
        self.assertEqual([name for name in names if not hasattr(MutationTests, name)], [])
