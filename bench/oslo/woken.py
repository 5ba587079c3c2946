"""
``fake://`` whose listener is woken by each message.

That of upstream looks for messages each 50 ms when there are none, so that who waits for an answer gets 20 a second.
"""

from __future__ import annotations

import threading
import time
from typing import Any

WOKEN = "woken"
"""The host of a URL that asks for it; ``fake://`` reads nothing of its URL."""


class _Clock:
    """The `time` of upstream's module: a pause ends when there is a message. There is one listener in a process."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.arrived = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.arrived.wait(seconds)
        self.arrived.clear()


def wake(url: str) -> None:
    """Have the listener woken, when the URL says so; to be called once in a process."""
    if url != f"fake://{WOKEN}":
        return
    from oslo_messaging._drivers import impl_fake

    clock = _Clock()
    deliver = impl_fake.FakeExchange.deliver_message

    def deliver_and_wake(exchange: Any, *words: Any, **options: Any) -> None:
        deliver(exchange, *words, **options)
        clock.arrived.set()

    impl_fake.time = clock
    impl_fake.FakeExchange.deliver_message = deliver_and_wake
