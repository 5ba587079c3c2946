"""
A place of its own for the bench, made of Linux's namespaces: its network, its processes, its mounts.

Whatever it makes there, such as hosts, adapters, rules and processes, is gone when it ends, however it ends, and nobody
outside sees it. Two benches never meet. No rights are needed where the kernel has namespaces of users.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSIDE = "ZMQRPC_FAULT_INSIDE"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PROGRAMS = {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "mount": "mount",
}


class Missing(Exception):
    """Something that the bench needs is not here; the text says what, and what to do."""


def is_inside() -> bool:
    """Tell whether this process is in such a place."""
    return INSIDE in os.environ


def enter(arguments: Sequence[str]) -> int:
    """
    Run the bench with these arguments in a place of its own; return its exit status.

    :raises Missing: a program, a right or a feature of the kernel is missing.
    """
    for name, package in PROGRAMS.items():
        if shutil.which(name, path=PATH) is None:
            raise Missing(
                f"the program {name} is missing; run make fault, which installs it, or sudo apt-get install {package}"
            )
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        words += ["--user", "--map-root-user"]
    environment = {**os.environ, "PATH": PATH}
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, env=environment, check=False)
    if tried.returncode:
        raise Missing(
            f"no namespaces can be made here ({tried.stderr.strip()}); run the bench as root, or have the kernel allow "
            "it: sysctl kernel.unprivileged_userns_clone=1, and in a container the right CAP_SYS_ADMIN"
        )
    # Linux ends it when we are gone, however we went; it ends all that is inside.
    command = ["setpriv", "--pdeathsig", "KILL", *words, sys.executable, "-m", "zmqrpc.test.fault", *arguments]
    return subprocess.run(command, env={**environment, INSIDE: "1"}, check=False).returncode


def furnish() -> None:
    """Mount what is to be private as well, and set the loopback adapter up; called once, inside."""
    # Where `ip netns` keeps its names, and where libfaketime has files that carry ids of processes.
    for directory in ("/run", "/dev/shm"):
        run("mount", "-t", "tmpfs", "tmpfs", directory)
    Path("/run/netns").mkdir()
    run("ip", "link", "set", "lo", "up")


def run(*words: str, text: str = "") -> str:
    """
    Run a program, and return what it prints.

    :param text: what it reads.
    :raises Missing: it failed.
    """
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Missing(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
