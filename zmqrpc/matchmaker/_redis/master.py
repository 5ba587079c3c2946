"""Which server is the master, worked out from what Sentinels say (docs/adr/0034)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs

from zmqrpc.address import numeric, split_address
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.spelling import shown

_DOWN = ("s_down", "o_down", "failover_in_progress", "disconnected")
"""What a Sentinel notes of a master that may soon be replaced."""


class Disagreement(MatchmakerUnavailable):
    """As many Sentinels name one master as another."""


@attrs.frozen
class Answer:
    """
    What one Sentinel has answered.

    :ivar place: the Sentinel.
    :ivar host: the master; empty where it named none. It and the port are not checked by anybody yet.
    :ivar epoch: how often the master has been changed, as far as that Sentinel knows.
    :ivar flags: what it notes of the master.
    :ivar fault: why it named none, in a sentence.
    """

    place: RedisPlace
    host: str = ""
    port: int = 0
    epoch: int = 0
    flags: frozenset[str] = frozenset()
    fault: str = ""


@attrs.frozen
class Master:
    """
    A server that Sentinels name.

    :ivar epoch: how often the master had been changed when it became it.
    :ivar doubt: what they say against it; to stand after what is wrong with it; may be empty.
    """

    host: str
    port: int
    epoch: int = attrs.field(default=0, eq=False)
    doubt: str = attrs.field(default="", eq=False)

    @property
    def name(self) -> str:
        """Return the server for people."""
        return RedisPlace(self.host, self.port).name


def read_answer(place: RedisPlace, address: Any, fields: Any) -> Answer:
    """
    Read what a Sentinel has answered to ``GET-MASTER-ADDR-BY-NAME`` and ``MASTER``.

    The address is that of the first: the second goes on to name the old master until every replica follows the new one.

    :raises ValueError: it is malformed.
    """
    host, port = read_words(address, 2)
    words = read_words(fields, len(fields) if isinstance(fields, list) else 0)
    facts = dict(zip(words[::2], words[1::2], strict=True))
    if not {"config-epoch", "flags"} <= facts.keys():
        raise ValueError("config-epoch or flags are missing")
    host, number = split_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return Answer(place, host, number, int(facts["config-epoch"]), frozenset(facts["flags"].split(",")))


def read_switch(words: Sequence[str]) -> str:
    """Return the server that ``+switch-master`` tells of, as `Master.name` has it; empty where it is malformed."""
    match words:
        case (_, _, _, host, port) if port.isdecimal():
            return Master(host.lower(), int(port)).name
    return ""


def read_words(answer: Any, count: int) -> list[str]:
    """
    Read an answer that is a list of so many texts.

    :raises ValueError: it is not.
    """
    if not isinstance(answer, list) or len(answer) != count or not all(isinstance(word, bytes) for word in answer):
        raise ValueError(f"where a list of {count} texts belongs stands {shown(repr(answer)[:100])}")
    return [word.decode() for word in answer]


def unknown_group(place: RedisPlace, masters: Any) -> str:
    """
    Say that a Sentinel does not know the group, and which it knows.

    :param masters: what it has answered to ``MASTERS``; None where it has not.
    """
    try:
        names = ", ".join(sorted(read_words(master[1:2], 1)[0] for master in masters))
    except (ValueError, TypeError):
        names = ""
    known = f"knows {shown(names)[:200]}" if names else "does not say which it knows"
    return f"{place.called} knows no master of that name, and {known}; correct the end of the transport URL"


def is_enough(answers: Sequence[Answer], asked: int) -> bool:
    """Tell whether nobody else needs to be waited for: the majority has named a master, and it is clear which."""
    if len(answers) == asked:
        return True
    if not is_majority(answers, asked):
        return False
    try:
        choose("", answers)
    except Disagreement:
        return False
    return True


def is_majority(answers: Sequence[Answer], asked: int) -> bool:
    """Tell whether more than half of those that were asked name a master."""
    return 2 * sum(1 for answer in answers if answer.host) > asked


def newer(known: Master | None, found: Master, by_majority: bool) -> Master:
    """
    Return which of two counts: few Sentinels that know of less than was known before are cut off from the others.

    :param known: what was found before.
    :param by_majority: whether the majority was heard; it counts also when somebody has had it begin anew.
    """
    return known if known is not None and not by_majority and found.epoch < known.epoch else found


def choose(group: str, answers: Sequence[Answer]) -> Master:
    """
    Choose the master that counts: what the newest of the answers say, as a Sentinel that was cut off has an old one.

    :param group: the name of the master, for errors.
    :raises MatchmakerUnavailable: none is named, or it is not clear which counts.
    """
    named = [answer for answer in answers if answer.host]
    if not named:
        faults = "; ".join(answer.fault for answer in answers)
        raise MatchmakerUnavailable(f"no Sentinel names the master {group}: {faults or 'none has answered in time'}")
    epoch = max(answer.epoch for answer in named)
    newest = [answer for answer in named if answer.epoch == epoch]
    (first, most), *others = Counter((answer.host, answer.port) for answer in newest).most_common()
    if others and others[0][1] == most:
        said = "; ".join(f"{answer.place.called} names {Master(answer.host, answer.port).name}" for answer in newest)
        raise Disagreement(
            f"the Sentinels disagree about the master {group}: {said}; see whether all of them watch the same servers, "
            "and know each other (SENTINEL SENTINELS)"
        )
    return Master(
        *first, epoch=epoch, doubt=_doubt([answer for answer in newest if (answer.host, answer.port) == first])
    )


def _doubt(answers: Sequence[Answer]) -> str:
    answer = answers[0]
    address = numeric(answer.host)
    if address is not None and address.is_loopback and not answer.place.is_loopback:
        return "Sentinels name it by an address that leads each machine to itself; give sentinel monitor one for all"
    flags = [flag for flag in _DOWN if any(flag in answer.flags for answer in answers)]
    if flags:
        return f"there is no master just now: Sentinel finds it down ({', '.join(flags)}), and may choose another"
    return ""
