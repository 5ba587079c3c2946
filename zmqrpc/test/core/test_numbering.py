"""From which number on links to one instance count."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.call import PendingCall
from zmqrpc.core.numbering import Numbering
from zmqrpc.core.pending import PendingCalls

ONE, TWO = b"1" * 16, b"2" * 16


class State:
    """Who is behind a link."""

    def __init__(self, instance, learns):
        self.instance = instance
        self.learns = learns


class Line:
    """A link, as far as its numbers go."""

    def __init__(self, address: str, instance: bytes | None = None, first: int = 1) -> None:
        self.address = address
        self.state: Any = State(instance, instance is None)
        self.pending: PendingCalls[PendingCall] = PendingCalls(10, None, first)

    def begin_at(self, first: int) -> None:
        self.pending.begin_at(first)

    def opens(self, numbering, instance):
        """Open it, as far as may be."""
        trouble = numbering.claim(self, instance)
        if not trouble and self.state.learns:
            self.state.instance = instance
        return trouble


class NumberingTests(SynchronousTestCase):
    def setUp(self):
        self.lines: dict[str, Line] = {}
        self.numbering: Numbering[Line] = Numbering(self.lines.get)

    def line(self, address, instance=None):
        line = Line(address, instance, self.numbering.unused)
        self.lines[address if instance is None else instance.hex()] = line
        return line

    def test_one_link_for_each_instance(self):
        first, second = self.line("a"), self.line("b")
        self.assertEqual(first.opens(self.numbering, ONE), "")
        self.assertEqual(second.opens(self.numbering, ONE), "the link to a leads there already")
        self.assertEqual(second.opens(self.numbering, TWO), "")
        self.assertEqual(first.opens(self.numbering, ONE), "")

    def test_whom_a_record_names_is_not_learned_once_more(self):
        self.line("a", ONE)
        self.assertEqual(self.line("b").opens(self.numbering, ONE), "the link to a leads there already")

    def test_another_than_the_record_names_is_the_business_of_others(self):
        self.assertEqual(self.line("a", ONE).opens(self.numbering, TWO), "")

    def test_no_number_twice(self):
        """Who leads to an instance after another counts on above what that has sent, wherever it was."""
        first, second = self.line("a"), self.line("b")
        first.opens(self.numbering, ONE)
        first.begin_at(50)
        self.numbering.release(first)
        self.assertEqual(second.opens(self.numbering, ONE), "")
        self.assertEqual((second.pending.next_sequence, self.numbering.unused), (50, 50))

    def test_a_link_that_learns_another(self):
        """Its instance has been replaced by another at the same address: the first may be learned elsewhere."""
        first, second = self.line("a"), self.line("b")
        first.opens(self.numbering, ONE)
        first.begin_at(20)
        self.assertEqual(first.opens(self.numbering, TWO), "")
        self.assertEqual(second.opens(self.numbering, ONE), "")
        self.assertEqual(second.pending.next_sequence, 20)
        self.numbering.clear()
        self.assertEqual(self.line("c").opens(self.numbering, TWO), "")
