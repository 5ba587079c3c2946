"""How a command refuses to start: one sentence on standard error, and an exit status that is not 0."""

from __future__ import annotations

import sys
from typing import NoReturn

from zmqrpc.errors import ConfigError


class StartRefused(ConfigError, SystemExit):
    """
    The process cannot start; the text says why.

    It is a `ConfigError` for whoever composes our services. It is a `SystemExit` too, since Python ends a process with
    that without a traceback. It has to be an ordinary `Exception` as well: `twistd` tells the process that waits for
    its daemon, and removes its pid file, only for those.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 1


def refuse(command: str, sentence: str) -> NoReturn:
    """
    Say why the command does not start, and raise.

    :raises StartRefused: always.
    """
    # Not sys.stderr: twistd has turned that into its log by the time a service starts.
    if sys.__stderr__ is not None:
        print(f"{command}: {sentence}", file=sys.__stderr__, flush=True)  # noqa: T201, this is where it is said
    raise StartRefused(sentence)
