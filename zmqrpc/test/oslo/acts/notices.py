"""The notifications of a process."""

from __future__ import annotations

from typing import Any

import oslo_messaging

from zmqrpc.test.oslo.acts.clients import Clients
from zmqrpc.test.oslo.endpoints import Notices as NoticesEndpoint
from zmqrpc.test.oslo.values import Context


class Notices(Clients):
    """Notifies, and listens."""

    def notify(
        self, topic: str, priority: str = "info", event: str = "event", payload: Any = None, context: Any = None
    ) -> None:
        """Notify; the context is a dict, or one in a list for an object that makes it."""
        made = Context(context[1]) if isinstance(context, list) else context
        getattr(self.notifier(topic), priority)(made or {}, event, payload)

    def notifier(self, topic: str, publisher: str = "publisher") -> Any:
        return oslo_messaging.Notifier(self.transport("notification"), publisher, driver="messagingv2", topics=[topic])

    def notify_often(self, topic: str, count: int) -> None:
        notifier = self.notifier(topic)
        for each in range(count):
            notifier.info({}, "event", each)

    def change_after(self, topic: str, count: int) -> None:
        """Cast and notify, each with what is changed as soon as it is sent."""
        client, notifier = self.client(topic), self.notifier(topic)
        for each in range(count):
            context: dict[str, Any] = {"of": each}
            within: dict[str, Any] = {"lasts": [each]}
            client.cast(context, "note_all", within=within)
            notifier.info(context, "event", within)
            context["changed"] = within["lasts"] = "changed"

    def listen(
        self,
        topic: str,
        name: str,
        pool: str | None = None,
        exchange: str | None = None,
        batch_size: int | None = None,
        batch_timeout: float | None = None,
        refuses: int = 0,
        raises: bool = False,
        batches: bool | None = None,
    ) -> None:
        """
        Listen, and have what is heard under a name.

        :param refuses: how many are given back first.
        :param batches: whether in batches; None when a size is given.
        """
        heard = self.heard_by.setdefault(name, [])
        if batches is None:
            batches = batch_size is not None
        endpoint = NoticesEndpoint(heard, refuses, raises, batches)
        get = oslo_messaging.get_batch_notification_listener if batches else oslo_messaging.get_notification_listener
        more = {"batch_size": batch_size, "batch_timeout": batch_timeout} if batches else {}
        listener = get(
            self.transport("notification"),
            [oslo_messaging.Target(topic=topic, exchange=exchange)],
            [endpoint],
            executor=self.executor,
            allow_requeue=True,
            pool=pool,
            **more,
        )
        self.servers[name] = listener
        listener.start()

    def waiting(self, name: str) -> int:
        """Count what has arrived at a listener, and waits for more of its batch."""
        endpoint: Any = self.servers[name].listener._hurry.__self__
        return sum(len(batch) for _, batch in list(endpoint._gathering._batches.values()))

    def hear_raw(self, topic: str, priority: str, name: str) -> None:
        """Listen as `oslo_messaging.notify.listener` does; have context and message of each heard under a name."""
        heard = self.heard_by.setdefault(name, [])

        def hear(batch: list[Any]) -> None:
            for incoming in batch:
                heard.append([incoming.ctxt, incoming.message])
                incoming.acknowledge()

        driver = self.transport("notification")._driver
        pair = oslo_messaging.Target(topic=topic), priority
        self.servers[name] = listener = driver.listen_for_notifications({pair}, None, 1, None)
        listener.start(hear)

    def send_raw(self, topic: str, message: Any, context: dict[str, Any], version: float) -> None:
        """Send what no notifier would."""
        driver = self.transport("notification")._driver
        driver.send_notification(oslo_messaging.Target(topic=topic), context, message, version, retry=None)

    def last_words(self, topic: str, count: int) -> None:
        client, notifier = self.client(topic), self.notifier(topic)
        for each in range(count):
            client.cast({}, "note", value=each)
            notifier.info({}, "event", each)
