"""The endpoints that scenarios call."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed

from zmqrpc import Target, expose


class Worker:
    """
    One member's methods; it remembers what ran.

    :ivar node: the node that serves it, where the test needs it.
    :ivar ran: the numbers that methods were called with, in order.
    :ivar held: the calls of `hold` that have not ended, by number.
    :ivar cancelled: the numbers of those that were cancelled.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.node: Any = None
        self.ran: list[int] = []
        self.held: dict[int, Deferred[object]] = {}
        self.cancelled: list[int] = []

    @expose
    def add(self, context, a, b=10):
        return a + b

    @expose
    def add_later(self, context, a, b):
        return succeed(a + b)

    @expose
    async def add_async(self, context, a, b):
        return await succeed(a + b)

    @expose
    def echo(self, context, value):
        return value

    @expose
    def tell_context(self, context):
        return context

    @expose
    def mark(self, context, number=0):
        self.ran.append(number)
        return self.name

    @expose
    def hold(self, context, number=0, value=None):
        """Answer when the test says so."""
        self.ran.append(number)
        held = self.held[number] = Deferred()
        held.addBoth(self._ended, number)
        return held

    def _ended(self, result, number):
        del self.held[number]
        if getattr(result, "type", None) is CancelledError:
            self.cancelled.append(number)
        return result

    def let_go(self) -> None:
        """Answer what is held, in the order it came."""
        for number in list(self.held):
            self.held[number].callback(self.name)

    @expose
    def fail(self, context, text="broken"):
        raise ValueError(text)

    @expose
    async def fail_async(self, context):
        raise KeyError("gone")

    @expose
    def give_object(self, context):
        return {"list": [1, object()]}

    @expose
    def give_bytes(self, context, size):
        return bytes(size)

    def not_exposed(self, context):
        return "secret"


class Versioned:
    """A namespace with a version."""

    target = Target(namespace="math", version="2.3")

    @expose
    def double(self, context, a):
        return 2 * a
