"""What several tests of matchmakers need."""

import os
from pathlib import Path

import zmqrpc

# Where this zmqrpc is, for the children of tests: it need not be installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(zmqrpc.__file__).parent.parent)}


def new_path(case):
    """Return the path of a file that does not exist, in a directory of its own."""
    directory = os.path.abspath(case.mktemp())
    os.makedirs(directory)
    return os.path.join(directory, "matchmaker.db")
