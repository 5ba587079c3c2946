"""Where oslo.messaging's own ``tools/simulator.py`` is: its source archive has it, what is installed of it has not."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from bench.brokers import ContenderFailed

KEPT = Path(__file__).parent / "upstream"
"""What was downloaded, by version; nothing of it belongs to this project."""
_SECONDS = 300.0


def simulator() -> Path:
    """
    Return the simulator of the oslo.messaging that is installed, which is downloaded the first time.

    :raises ContenderFailed: oslo.messaging is not installed, or its source archive cannot be had.
    """
    try:
        version = metadata.version("oslo.messaging")
    except metadata.PackageNotFoundError:
        raise ContenderFailed("oslo.messaging is not installed: pip install -r bench/oslo/requirements.txt") from None
    found = KEPT / version / "tools" / "simulator.py"
    if not found.exists():
        _download(version, KEPT / version)
    if not found.exists():
        raise ContenderFailed(f"the source archive of oslo.messaging {version} has no tools/simulator.py")
    return found


def _download(version: str, to: Path) -> None:
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as directory:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        words += ["--dest", directory, f"oslo.messaging=={version}"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=_SECONDS)
        archives = list(Path(directory).glob("*.tar.gz"))
        if done.returncode or not archives:
            raise ContenderFailed(f"the source archive of oslo.messaging {version} cannot be had: {done.stderr[-500:]}")
        tools = Path(directory, "unpacked", "tools")
        tools.mkdir(parents=True)
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                if member.isfile() and re.fullmatch(r"[^/]+/tools/[\w.]+", member.name):
                    (tools / Path(member.name).name).write_bytes(archive.extractfile(member).read())
        tools.parent.rename(to)
