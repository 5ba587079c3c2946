"""Calls what compute.py serves, in each way that oslo.messaging has, and prints what comes of it."""

import sys

import oslo_messaging
from oslo_config import cfg


def main(*arguments):
    conf = cfg.CONF
    conf(arguments, project="compute")
    transport = oslo_messaging.get_rpc_transport(conf)
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="compute", version="1.0"))
    context = {"user": "ada"}

    print(client.call(context, "boot", name="web"))
    print(client.prepare(server="node-1").call(context, "boot", name="db"))
    client.cast(context, "boot", name="cache")
    client.prepare(fanout=True).cast(context, "boot", name="agent")

    nobody = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="nobody"))
    nobody.cast(context, "boot", name="web")
    at_once = oslo_messaging.TransportOptions(at_least_once=True)
    fast = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="nobody"), transport_options=at_once)
    for what, call in (
        ("raised there", lambda: client.call(context, "delete", name="web")),
        ("no such method", lambda: client.call(context, "start", name="web")),
        ("too slow", lambda: client.prepare(timeout=0.5).call(context, "resize", name="web", seconds=2)),
        ("nobody listens", lambda: nobody.prepare(timeout=0.5).call(context, "boot", name="web")),
        ("nobody, at_least_once", lambda: fast.call(context, "boot", name="web")),
        ("no JSON", lambda: client.call(context, "boot", name=object())),
    ):
        try:
            call()
        except Exception as error:
            print(f"{what}: {type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(": "))
    transport.cleanup()


if __name__ == "__main__":
    main(*sys.argv[1:])
