"""Names in sentences: what may have been meant by one that does not exist, the first of many, those of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ALL_OPTIONS = "zmqrpc config lists all options"
"""Where to look further: they are too many for one sentence."""

_MOST_LISTED = 8
_MOST_COMPARED = 200
"""Names that a wrong one is compared with; each takes some microseconds."""

_MOST_TEXT = 100
_LONGEST_SHOWN = 255


def did_you_mean(name: str, valid: Iterable[str], most: int = 1) -> str:
    """
    Ask for the valid names that are most like a wrong one; empty when none is like it.

    :param most: how many are named at most.
    """
    # Here, since whoever makes no mistake need not wait for it.
    from difflib import get_close_matches

    by_form = {_form(known): known for known in sorted(valid)}
    similar = [by_form[form] for form in get_close_matches(_form(name), by_form, most)]
    if not similar:
        return ""
    *others, last = similar
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def meant_or_all(name: str, valid: Sequence[str]) -> str:
    """Ask for the valid name that is most like a wrong one, or write a clause with all that are valid."""
    return did_you_mean(name, valid) or f"valid are {', '.join(valid)}"


def meant_or_some(name: str, valid: Iterable[str], what: str) -> str:
    """
    Ask for the name of many that is most like a wrong one, or write a clause with the first of them.

    :param what: what they are, for example ``exposed are``.
    :return: bounded, whatever the names are; empty when there is none.
    """
    names = [shortened(known) for known in valid]
    meant = did_you_mean(shortened(name), names[:_MOST_COMPARED])
    if meant or not names:
        return meant
    return f"{what} {first_of(names, ', ', _MOST_LISTED)}"


def first_of(names: Sequence[str], between: str, most: int = 5) -> str:
    """Join the first of many names, or clauses, and say how many more there are."""
    more = len(names) - most
    return between.join(names[:most]) + (f"{between}and {more} more" if more > 0 else "")


def shortened(name: str) -> str:
    """Cut a name that is longer than anybody reads: others may have chosen it."""
    return name if len(name) <= _MOST_TEXT else f"{name[: _MOST_TEXT - 3]}..."


def printable(text: str, most: int | None = None) -> str:
    """
    Write for a terminal or a log what somebody else has written: nothing that these obey, nor too much.

    :param most: of how many characters, None for all.
    """
    text = text[:most]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)[:most]


def shown(text: str) -> str:
    """Write a name or a reason of others for the log."""
    return printable(text, _LONGEST_SHOWN)


def nearest(name: str, valid: Iterable[str], rest: str = ALL_OPTIONS) -> str:
    """Write a clause with the three valid names that are most like a wrong one, if any is, and where all are."""
    return f"{did_you_mean(name, valid, 3)} {rest}".lstrip()


def _form(name: str) -> str:
    return name.lower().replace("-", "_")
