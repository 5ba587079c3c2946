"""What several tests of matchmakers need."""

import os
import shutil
import tempfile

from twisted.trial.unittest import TestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.test.integration.support import eventually
from zmqrpc.test.logs import LogLines
from zmqrpc.testing.matchmaker import Heard, make_record

MEMORY = "/dev/shm"

OUTAGES = "zmqrpc.matchmaker._outage.Outage"
"""Who logs the begin and the end of an outage."""


def new_path(case):
    """
    Return the path of a file that does not exist, in a directory of its own.

    In memory where there is such a place: a disk that others keep busy takes seconds to sync, and is not tested here.
    """
    if os.access(MEMORY, os.W_OK):
        directory = tempfile.mkdtemp(prefix="zmqrpc-", dir=MEMORY)
        case.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    else:
        directory = os.path.abspath(case.mktemp())
        os.makedirs(directory)
    return os.path.join(directory, "matchmaker.db")


def everything(matchmaker):
    """List what a matchmaker can be asked, to be called."""
    return [
        lambda: matchmaker.lookup("openstack", "compute"),
        lambda: matchmaker.register(make_record(), 300),
        lambda: matchmaker.withdraw(make_record()),
        matchmaker.records,
    ]


class StoreCase(TestCase):
    """
    Matchmakers of a real store, which are closed after the test.

    :cvar logger: whose lines are in `lines`.
    """

    timeout = 60
    logger = OUTAGES

    def setUp(self):
        self.lines = LogLines(self, self.logger)

    def closing(self, made):
        """Have a matchmaker closed after the test; return it."""
        self.addCleanup(made.close)
        return made

    async def watching(self, matchmaker, *records):
        """Watch, and wait until exactly these are heard."""
        heard = Heard()
        matchmaker.watch("openstack", "compute", heard)
        await eventually("the first call", lambda: heard.last(*records))
        return heard

    async def works(self, matchmaker):
        """Check that what is registered is told."""
        heard = Heard()
        matchmaker.watch("openstack", "compute", heard)
        await matchmaker.register(make_record(), 300)
        await eventually("the change", lambda: heard.last(make_record()))

    async def refused(self, asked, *texts, kind=MatchmakerUnavailable):
        """Check that an operation fails, in words that have these texts and nothing for machines; return the words."""
        with self.assertRaises(kind) as caught:
            await asked
        said = str(caught.exception)
        for text in texts:
            self.assertIn(text, said)
        for piece in ("secret", "Error(", "[<", "('", "object at"):
            self.assertNotIn(piece, said)
        return said

    async def found(self, matchmaker, topic="compute"):
        """Look up, and leave out the ages."""
        return [sighting.record for sighting in await matchmaker.lookup("openstack", topic)]
