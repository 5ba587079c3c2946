"""The configuration files that both seeds print, as a service of oslo.messaging reads them (docs/configurations)."""

from __future__ import annotations

from oslo_config import cfg
from oslo_messaging import TransportURL
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.oslo.opts import settings_of
from zmqrpc.settings import Settings
from zmqrpc.test.test_seed_files import EXPECTED, FILES


class SeedFileTests(SynchronousTestCase):
    def read(self, name: str) -> Settings:
        conf = cfg.ConfigOpts()
        conf(["--config-file", str(FILES / f"{name}.conf")])
        url = TransportURL.parse(conf)
        if url.transport == "rabbit":
            # oslo.messaging does not know rpc_backend any more: whoever has that writes this URL in its place.
            url = TransportURL.parse(conf, "zmq://")
        return settings_of(conf, url, None)

    def test_all(self) -> None:
        """Each means what it means to our own commands, but for what is another value in services."""
        for name, values in EXPECTED.items():
            settings = self.read(name)
            wanted = {key: value for key, value in values.items() if not key.startswith("proxy_")}
            # oslo.messaging writes the URL anew, with slashes at its end.
            self.assertEqual(settings.url.rstrip("/"), wanted.pop("url", "zmq://").rstrip("/"), name)
            self.assertEqual(settings, Settings(settings.url, call_monitor_timeout=0.0, **wanted), name)
