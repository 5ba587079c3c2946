"""Large messages."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from zmqrpc.test.oslo.acts.forks import Forks
from zmqrpc.test.oslo.acts.main_thread import in_main
from zmqrpc.test.oslo.acts.notices import Notices


class Sizes(Notices, Forks):
    """Sends texts of many sizes."""

    def large(self, topic: str, sizes: list[int]) -> list[str]:
        """Send, and have sent back, texts of these sizes in every way there is; return what was wrong."""
        client, notifier = self.client(topic, timeout=10), self.notifier(topic)
        everybody = client.prepare(fanout=True)

        def error(size: int) -> str:
            try:
                return str(client.call({}, "fail_with", size=size))
            except ValueError as raised:
                return str(raised).partition("\n")[0]

        ways: dict[str, Callable[[int], bool]] = {
            "argument": lambda size: client.call({}, "measure", text="x" * size) == size,
            "result": lambda size: bool(client.call({}, "make", size=size) == "x" * size),
            "error": lambda size: error(size) == "x" * size,
            "cast": lambda size: client.cast({}, "measure", text="x" * size) is None,
            "fan-out": lambda size: everybody.cast({}, "measure", text="x" * size) is None,
            "notification": lambda size: notifier.info({}, "event", "x" * size) is None,
        }
        wrong = []
        for size, (way, carries) in product(sizes, ways.items()):
            try:
                why = "" if carries(size) else "it came otherwise"
            except Exception as raised:
                why = str(raised)[:200]
            if why:
                wrong.append(f"{way} of {size}: {why}")
        return wrong

    @in_main
    def fork_and_send_large(self, topic: str, sizes: list[int]) -> list[list[str]]:
        """Send what is `large`, here and then in a fork and here; return what was wrong."""
        return [self.large(topic, sizes), *self.in_forks(1, lambda: self.large(topic, sizes)), self.large(topic, sizes)]

    def heard_sizes(self, name: str) -> list[int]:
        """Return the sizes of the payloads that a listener has heard."""
        return [len(told[4]) for told in self.heard(name)]
