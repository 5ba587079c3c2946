"""What several tests of matchmakers need."""

import os
import shutil
import tempfile

MEMORY = "/dev/shm"


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
