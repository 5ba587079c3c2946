"""An interactive shell in a terminal, in which completions are asked for as people do: with the tab key."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

from zmqrpc.test.processes import LIMIT, until

_TAB = b"\t"
_SHOW = b"\x18s"
"""Ctrl-X s, on which the shell writes the line that stands there into a file, and empties it."""

_COMMANDS = {
    "bash": ["bash", "--noprofile", "--rcfile", ".bashrc", "-i"],
    "zsh": ["zsh", "-d", "-i"],
}

_START = {
    "bash": r"""
        show() {{ printf %s "$READLINE_LINE" > {file}.new; mv {file}.new {file}; READLINE_LINE=; }}
        bind -x '"\C-xs": show'
        source {script}
        PS1='$ '
        """,
    "zsh": r"""
        autoload -U compinit && compinit -u -D
        show() {{ print -rn -- "$BUFFER" > {file}.new; mv {file}.new {file}; BUFFER=; }}
        zle -N show
        bindkey '^Xs' show
        source {script}
        PS1='$ '
        """,
}


class Terminal:
    """
    A shell that has read the completions.

    :param script: the file with them.
    :param environment: the shell's; what it finds as ``zmqrpc`` is asked for topics and methods.
    """

    def __init__(self, shell: str, script: Path, directory: Path, environment) -> None:
        if shutil.which(shell) is None:
            raise AssertionError(f"there is no {shell}; install it with: sudo apt-get install {shell}")
        self._line = directory / "line"
        self._screen = b""
        (directory / f".{shell}rc").write_text(dedent(_START[shell].format(file=self._line, script=script)))
        self._end, terminal = pty.openpty()
        os.set_blocking(self._end, False)
        self._process = subprocess.Popen(
            _COMMANDS[shell],
            cwd=directory,
            env={**environment, "TERM": "dumb", "HISTFILE": "", "HOME": str(directory), "ZDOTDIR": str(directory)},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)

    def completed(self, typed: str) -> str:
        """Type the beginning of a line and the tab key, and return the line."""
        self._line.unlink(missing_ok=True)
        os.write(self._end, typed.encode() + _TAB + _SHOW)
        until(self._shown, lambda: f"the completion of {typed!r}; there is {self._screen.decode(errors='replace')}")
        return self._line.read_text()

    def close(self) -> None:
        """End the shell, and all that it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(LIMIT)
        os.close(self._end)

    def _shown(self) -> bool:
        # What is written and not read would stop the shell.
        with suppress(BlockingIOError):
            self._screen = (self._screen + os.read(self._end, 65536))[-4000:]
        return self._line.exists()
