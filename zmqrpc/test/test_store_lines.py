"""What docs/howto/when-the-store-fails quotes of logs and errors stands in the code, word for word."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from zmqrpc.test.processes import CHECKOUT

PAGE = CHECKOUT / "docs" / "howto" / "when-the-store-fails.rst"

GAP = "\N{SECTION SIGN}"
"""Stands for what differs each time."""

_DIFFERS = re.compile(
    r"(the (Redis server|etcd server|Sentinel) )?(HOST:PORT|127\.0\.0\.1:6379)|the Redis master GROUP"
    r"|the fixed table PATH|TOPIC\.MEMBER"
    r"|\b(PATH|TOPIC|calc|GROUP|EXCHANGE|ADDRESS|PING|N)\b|\.\.\.|\b\d+(\.\d)?\b(?= s\b| failures)"
)
_COMMANDS = ("zmqrpc ", "redis-cli ", "etcdctl ", "zmq+", "--")


def texts() -> Iterator[str]:
    """Return every text of the matchmakers and of who uses them, with gaps where something is put in."""
    house = CHECKOUT / "zmqrpc"
    for path in [house / "registrar.py", *(house / "tap").glob("*.py"), *(house / "matchmaker").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
                yield _plain("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield _plain(node.value)


def _plain(text: str) -> str:
    return f"{GAP} {' '.join(_words(re.sub(r'{[^{}]*}', GAP, text)))} {GAP}"


def _words(text: str) -> list[str]:
    return re.sub(r"[,;:()]+(?= |$)|(?<= )[(]", "", " ".join(text.split())).split()


def quotes() -> Iterator[str]:
    """Return what the tables of the page say that logs say, and the lines that it shows."""
    page = PAGE.read_text()
    for cell in re.findall(r"^   \* - .+?\n     - (.+?)\n     - ", page, re.MULTILINE | re.DOTALL):
        for quote in re.findall(r"``(.+?)``", cell, re.DOTALL):
            text = " ".join(quote.split())
            if " " in text and not text.startswith(_COMMANDS):
                yield text
    yield from re.findall(r"^   ((?:not ready: |ready again |the matchmaker ).+)$", page, re.MULTILINE)


class LinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not PAGE.exists():
            raise SkipTest("the documentation is not here")
        self.code = "\n".join(texts())

    def strange(self, quote: str) -> list[str]:
        """
        Return the words of a quote that the code does not have in this company.

        A line is made of several texts, so each word has to be one of three that stand together, or beside a gap.
        """
        words = _words(_DIFFERS.sub(GAP, quote))
        known = [word == GAP for word in words]
        for size in (2, 3):
            for begin in range(len(words) - size + 1):
                some = words[begin : begin + size]
                if (size == 3 or any(GAP in word for word in some)) and " ".join(some) in self.code:
                    known[begin : begin + size] = [True] * size
        return [word for word, is_known in zip(words, known, strict=True) if not is_known]

    def test_quotes(self) -> None:
        found = list(quotes())
        self.assertGreater(len(found), 60)
        self.assertEqual({quote: strange for quote in found if (strange := self.strange(quote))}, {})

    def test_wrong_words_are_found(self) -> None:
        for quote in ("is kept blocked by another process", "the matchmaker server lost what we registered"):
            self.assertNotEqual(self.strange(quote), [], quote)
