"""What no table of a process may pass, whatever its peers do (the fifth promise)."""

from __future__ import annotations

from collections.abc import Iterator

from zmqrpc.testing import MemoryNode

_LARGEST_REQUEST = 1000
"""Bytes; where the one that passes a bound is the last."""

_LARGEST_BATCH = 30 * _LARGEST_REQUEST
"""A batch is read whole, and the only one is taken however large: all that is asked at once may be in it."""


def passed(node: MemoryNode) -> Iterator[str]:
    """Say which bounds a node has passed."""
    for option, used, most in _measured(node):
        if used > most:
            yield f"{node.host} {node.instance.hex()[:8]} has {used} where {option} is {most} with all that it allows"


def _measured(node: MemoryNode) -> Iterator[tuple[str, int, int]]:
    """Yield an option, what there is, and the most that there may be."""
    settings, requests, delivery = node.settings, node._callers.requests, node._delivery
    yield "max_running_calls", len(requests.waiting) + requests.running, settings.max_running_calls
    yield "max_running_bytes", requests.held_bytes, max(settings.max_running_bytes, _LARGEST_BATCH)
    yield "max_clients", len(node._callers.all()), settings.max_clients
    kept = sum(caller.filter.reply_bytes for caller in node._callers.all())
    yield "max_replies_memory", kept, settings.max_replies_memory
    yield "max_routes", len(delivery.table.routes), settings.max_routes
    for waiting in delivery.waiting():
        yield "max_queued_calls", len(waiting), settings.max_queued_calls
    for link in node._links.all():
        pending, queue = link.pending, link.queue
        unsettled_bytes = settings.max_unsettled_bytes + _LARGEST_REQUEST
        yield "max_unsettled_calls", len(pending), settings.max_unsettled_calls
        yield "max_unsettled_bytes", pending.bytes, unsettled_bytes
        # What was handed over and not written comes back, whatever waits by then.
        yield "max_queued_calls", len(queue), settings.max_queued_calls + settings.max_unsettled_calls
        yield "max_queued_bytes", queue.bytes, settings.max_queued_bytes + unsettled_bytes
    for caller in node._callers.all():
        yield "max_unsettled_calls", len(caller.filter), settings.max_unsettled_calls
        yield "max_reply_memory", caller.filter.reply_bytes, settings.max_reply_memory
        yield "max_queued_bytes", caller.unread, settings.max_queued_bytes + _LARGEST_BATCH
    if node._publishing is not None:
        yield "max_queued_calls", len(node._publishing.calls()), settings.max_queued_calls
