"""
The command line client, `zmqrpc`.

What only some commands need is imported when it is needed: a command line has to answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run the command line and end the process.

    :param arguments: without the name of the program; None is what the process was given.
    """
    from zmqrpc.cli._parser import parse, parse_config

    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["config"]:
        from zmqrpc.cli._config import config

        sys.exit(parse_config(words[1:], config))
    request = parse(words)
    from zmqrpc.cli._send import send

    sys.exit(send(request))
