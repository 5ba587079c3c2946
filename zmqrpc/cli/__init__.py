"""
The command line client, `zmqrpc`.

What only some commands need is imported when it is needed: a command line has to answer at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run the command line and end the process.

    A twentieth of a short run would be spent on looking for garbage among modules, and a twentieth on taking the
    interpreter apart when everything has been closed.

    :param arguments: without the name of the program; None is what the process was given.
    """
    gc.disable()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    status = run(sys.argv[1:] if arguments is None else arguments)
    # Both are flushed with each line, so this fails for nobody who has not been told.
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status; help ends with `SystemExit`."""
    from zmqrpc.cli._exit import Exit
    from zmqrpc.cli._parser import choose, parse
    from zmqrpc.cli._report import Report
    from zmqrpc.errors import ConfigError

    report = Report("zmqrpc", "--json" in arguments)
    try:
        command = choose(arguments)
        report = Report(f"zmqrpc {command.name}", "--json" in arguments)
        options = parse(command, arguments[1:])
        status: int = import_module(f"zmqrpc.cli.{command.module}").run(command.name, options, report)
    except ConfigError as error:
        status = report.refuse(error)
    except BrokenPipeError:
        status = Exit.READER_LEFT
    except OSError as error:
        status = report.error(error)
    return status
