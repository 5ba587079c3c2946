# Two members of the topic "calc" and a client that calls them, in one process: twistd -n -y two_members.tac
import os

from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.logger import Logger

from zmqrpc import Node, Target, errors, expose, use_monotonic_clock

log = Logger("two_members")


class Calc:
    def __init__(self, member):
        self.member = member

    @expose
    def add(self, context, a, b):
        return f"{self.member} says {a + b}"


async def ask():
    try:
        answer = await client.call(Target("calc"), "add", {"a": 1, "b": 2}, timeout=5, wait_for_ready=True)
        log.info("{answer}", answer=answer)
    except errors.DeliveryError as error:
        log.warn("{error}", error=error)


use_monotonic_clock(reactor)
node = Node(reactor, os.environ.get("ZMQRPC_URL", "zmq://"))
for member in ("node-1", "node-2"):
    node.server(Target("calc", server=member), [Calc(member)])
client = node.client()

application = Application("two members")
node.setServiceParent(application)
TimerService(1, ask).setServiceParent(application)
