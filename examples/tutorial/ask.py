import os

from twisted.internet import reactor, task

from zmqrpc import Target, connect, errors, use_monotonic_clock


async def main(reactor):
    client = await connect(reactor, os.environ["ZMQRPC_URL"])
    try:
        print(await client.call(Target("greeter"), "hello", {"name": "Grace"}, timeout=5))
        reached = await client.fanout(Target("greeter"), "forget", timeout=5)
        print("forgotten by", len(reached.members), "of them")
        await client.call(Target("nobody"), "hello", timeout=5)
    except errors.NoRoute as error:
        print("nobody listens there:", error.maybe_executed)
    finally:
        await client.close()


use_monotonic_clock(reactor)
task.react(main)
