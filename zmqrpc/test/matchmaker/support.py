"""What several tests of matchmakers need."""

import os


def new_path(case):
    """Return the path of a file that does not exist, in a directory of its own."""
    directory = os.path.abspath(case.mktemp())
    os.makedirs(directory)
    return os.path.join(directory, "matchmaker.db")
