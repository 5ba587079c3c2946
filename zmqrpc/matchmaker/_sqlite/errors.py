"""What the errors of SQLite mean for who runs a matchmaker file."""

from __future__ import annotations

_REASONS = {
    "SQLITE_BUSY": "is kept locked by another process; find it with fuser",
    "SQLITE_CANTOPEN": "cannot be opened; check that it is a file, and the rights to its directory",
    "SQLITE_CORRUPT": "is damaged; stop its users and remove it, they register again by themselves",
    "SQLITE_FULL": "cannot grow, the disk is full",
    "SQLITE_IOERR": "cannot be read or written; check the disk and the room on it",
    "SQLITE_NOTADB": "is not an SQLite file; name another file, or remove it",
    "SQLITE_PERM": "may not be used by this user",
    "SQLITE_READONLY": "cannot be written; check the rights to it and to its directory",
}


def is_busy(error: Exception) -> bool:
    """Tell whether the error is a lock of another connection or process, which passes by itself."""
    return _name(error).startswith("SQLITE_BUSY")


def reason(error: Exception) -> str:
    """Return what is the matter with the file and what to do, to stand after its name."""
    if isinstance(error, FileNotFoundError):
        return "cannot be made, its directory does not exist; create it"
    name = _name(error) or ("SQLITE_CANTOPEN" if isinstance(error, OSError) else "")
    return next((text for start, text in _REASONS.items() if name.startswith(start)), "cannot be used")


def _name(error: Exception) -> str:
    if isinstance(error, BlockingIOError):
        return "SQLITE_BUSY"
    return getattr(error, "sqlite_errorname", None) or ""
