"""A service that speaks oslo.messaging, as small as one can be. It knows nothing of zmqrpc."""

import logging
import signal
import sys
import threading
import time

import oslo_messaging
from oslo_config import cfg


class Compute:
    target = oslo_messaging.Target(version="1.1")

    def __init__(self, host, notifier=None):
        self.host = host
        self.notifier = notifier

    def boot(self, context, name):
        if self.notifier is not None:
            self.notifier.info(context, "instance.started", {"name": name, "host": self.host})
        return f"{name} runs on {self.host}"

    def resize(self, context, name, seconds):
        time.sleep(seconds)
        return f"{name} is larger"

    def delete(self, context, name):
        raise ValueError(f"there is no {name}")


def main(host, *arguments):
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    conf = cfg.CONF
    conf(arguments, project="compute")
    notifications = oslo_messaging.get_notification_transport(conf)
    notifier = oslo_messaging.Notifier(notifications, f"compute.{host}", driver="messagingv2", topics=["notifications"])
    server = oslo_messaging.get_rpc_server(
        oslo_messaging.get_rpc_transport(conf),
        oslo_messaging.Target(topic="compute", server=host),
        [Compute(host, notifier)],
        executor="threading",
        access_policy=oslo_messaging.DefaultRPCAccessPolicy,
    )
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server.start()
    stopped.wait()
    server.stop()
    server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
