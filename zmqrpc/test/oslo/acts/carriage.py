"""What the wire does to values."""

from __future__ import annotations

from oslo_serialization import jsonutils

from zmqrpc.test.oslo.acts.clients import Clients
from zmqrpc.test.oslo.values import VALUES, Context


class Carriage(Clients):
    """Sends values there and back."""

    def carried(self, topic: str, context: bool = False) -> dict[str, str]:
        """
        Call with each of the values; return what was wrong with which.

        :param context: whether they are the context, and not an argument.
        """
        client = self.client(topic, timeout=5)
        wrong = {}
        for name, value in VALUES.items():
            holds = {"value": value, "twice": [value, {"again": value}]}
            try:
                expected, refused = jsonutils.loads(jsonutils.dumps(holds)), None
            except Exception as error:
                expected, refused = None, type(error)
            for ctxt in (holds, Context(holds)) if context else ({"user": "ada"},):
                try:
                    came = client.call(ctxt, "context", **({} if context else holds))
                except Exception as error:
                    if type(error) is not refused:
                        wrong[name] = repr(error)
                    continue
                wanted = [expected, {}] if context else [ctxt, expected]
                # As text, since NaN is not even itself.
                if refused or jsonutils.dumps(came, sort_keys=True) != jsonutils.dumps(wanted, sort_keys=True):
                    wrong[name] = f"{came} is not {wanted}, {refused}"
        return wrong

    def brought(self, topic: str) -> dict[str, str]:
        """Have each of the values returned by a method; return what was wrong with which."""
        client = self.client(topic, timeout=5)
        wrong = {}
        for name, value in VALUES.items():
            try:
                expected = jsonutils.dumps(jsonutils.loads(jsonutils.dumps(value)), sort_keys=True)
            except Exception as error:
                expected = type(error).__name__
            try:
                came = jsonutils.dumps(client.call({}, "bring", kind=name), sort_keys=True)
            except Exception as error:
                came = getattr(error, "exc_type", type(error).__name__)
            if came != expected:
                wrong[name] = f"{came} is not {expected}"
        return wrong
