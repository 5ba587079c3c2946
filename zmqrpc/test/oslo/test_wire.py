"""What docs/spec/oslo says is what the driver sends, and what it reads."""

from __future__ import annotations

import json
from typing import Any

from oslo_messaging import RemoteError
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import errors
from zmqrpc.oslo.failures import raised_for
from zmqrpc.oslo.incoming import failed
from zmqrpc.oslo.payload import (
    Parts,
    message_of,
    notification_of,
    parts_of,
    parts_of_notification,
    result_of,
    value_of,
)
from zmqrpc.test.test_documentation import DOCS
from zmqrpc.test.test_examples import blocks


class ExampleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.examples = [json.loads(block) for block in blocks(DOCS / "spec" / "oslo.rst", "json")]

    def having(self, member: str) -> list[dict[str, Any]]:
        found = [example for example in self.examples if member in example]
        self.assertGreater(len(found), 0)
        return found

    def test_all_are_of_a_kind(self) -> None:
        kinds = ("message", "value", "notification", "code")
        self.assertEqual(len(self.examples), sum(len(self.having(kind)) for kind in kinds))

    def test_requests(self) -> None:
        for example in self.having("message"):
            request = example["request"]
            wanted = Parts(*(request[name] for name in ("method", "namespace", "interface", "arguments", "context")))
            self.assertEqual(parts_of(example["context"], example["message"]), wanted, example["about"])
            self.assertEqual(message_of(wanted), (example["message"], example["context"]), example["about"])

    def test_results(self) -> None:
        for example in self.having("value"):
            self.assertEqual(result_of(example["value"]), example["result"], example["about"])
            self.assertEqual(value_of(example["result"]), example["value"], example["about"])

    def test_notifications(self) -> None:
        for example in self.having("notification"):
            request = example["request"]
            wanted = Parts(request["method"], None, None, request["arguments"], request["context"])
            self.assertEqual(parts_of_notification(example["context"], example["notification"]), wanted)
            self.assertEqual(notification_of(wanted), (example["notification"], example["context"]))

    def test_failures(self) -> None:
        for example in self.having("code"):
            error = ValueError("no such instance")
            failure = failed((ValueError, error, None))
            told = (int(failure.code), failure.type_name, failure.text, json.loads(failure.traceback))
            self.assertEqual(told, tuple(example[name] for name in ("code", "type_name", "text", "traceback")))
            for traceback, kind in ((json.dumps(example["traceback"]), ValueError), ("", RemoteError)):
                remote = errors.RemoteError("ValueError", str(error), traceback)
                self.assertIsInstance(raised_for(remote, [], True), kind)
