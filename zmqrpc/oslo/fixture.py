"""What the tests of a service use in place of `oslo_messaging.conffixture.ConfFixture` (docs/howto/oslo-messaging)."""

from __future__ import annotations

from typing import Any

from oslo_messaging.conffixture import ConfFixture

from zmqrpc.oslo.hosted import close_all
from zmqrpc.oslo.opts import register_opts


class ZmqFixture(ConfFixture):  # type: ignore[misc]
    """
    Has a configuration speak zmqrpc for the length of a test.

    Our options are known to it at once, before there is a transport. At the end everything is closed that was opened
    with it and is still there, and what was overridden is as before.

    :param conf: a `ConfigOpts`.
    :param transport_url: a str; ``zmq://`` is this process alone, without a store and without the network.
    """

    def __init__(self, conf: Any, transport_url: str = "zmq://") -> None:
        super().__init__(conf)
        register_opts(conf)
        self._url = transport_url

    def setUp(self) -> None:
        super().setUp()
        self.transport_url = self._url
        self.addCleanup(close_all, self.conf)
