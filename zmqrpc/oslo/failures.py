"""What oslo.messaging raises for what becomes of a message."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import common
from oslo_messaging._drivers.base import TransportDriverError
from oslo_serialization import jsonutils

from zmqrpc import errors

_NO_ANSWER = (errors.DeadlineExceeded, errors.ServerLost, errors.NotAcknowledged, errors.Cancelled)
"""
What a call ends with of which nobody knows more than that there is no answer.

Nobody here cancels one: a server does, when its caller should have given it up.
"""


def raised_for(error: errors.ZmqRpcError, allowed: Iterable[Any], is_call: bool) -> Exception:
    """
    Return what a driver raises.

    :param allowed: the modules, or their names, whose exceptions are raised here as they were there.
    :param is_call: whether an answer was waited for.
    """
    raised: Exception
    if isinstance(error, errors.RemoteError):
        raised = _remote(error, allowed)
    elif is_call and (isinstance(error, _NO_ANSWER) or error.maybe_executed):
        raised = oslo_messaging.MessagingTimeout(str(error))
    elif isinstance(error, errors.DeliveryError):
        raised = oslo_messaging.MessageDeliveryFailure(str(error))
    else:
        raised = TransportDriverError(str(error))
    return raised


def _remote(error: errors.RemoteError, allowed: Iterable[Any]) -> Exception:
    raised: Exception = oslo_messaging.RemoteError(error.type_name, error.message, error.traceback)
    if error.traceback.startswith("{"):
        names = [getattr(module, "__name__", module) for module in allowed]
        try:
            raised = common.deserialize_remote_exception(error.traceback, names)
        except Exception:
            # It is no JSON, or its class does not take its arguments.
            raised = oslo_messaging.RemoteError(error.type_name, error.message, _traceback_in(error.traceback))
    return raised


def _traceback_in(told: str) -> Any:
    """Return the lines of the traceback; None where there are none."""
    with suppress(ValueError, TypeError, KeyError):
        return jsonutils.loads(told)["tb"]
    return None
