"""What may have been meant by a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Ask for the valid name that is most like a wrong one; empty when none is like it."""
    # Here, since whoever makes no mistake need not wait for it.
    from difflib import get_close_matches

    by_form = {_form(known): known for known in sorted(valid)}
    similar = get_close_matches(_form(name), by_form, 1)
    return f"did you mean {by_form[similar[0]]}?" if similar else ""


def meant_or_all(name: str, valid: Sequence[str]) -> str:
    """Ask for the valid name that is most like a wrong one, or write a clause with all that are valid."""
    return did_you_mean(name, valid) or f"valid are {', '.join(valid)}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Write a clause with the valid name that is most like a wrong one, if one is, and all that are valid."""
    names = sorted(valid)
    return f"{did_you_mean(name, names)} valid are {', '.join(names)}".lstrip()


def _form(name: str) -> str:
    return name.lower().replace("-", "_")
