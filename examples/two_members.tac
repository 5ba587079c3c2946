# Two RPC servers in one process: twistd -n -y examples/two_members.tac
import os

from twisted.application.service import Application

from zmqrpc.tap.server import Options, makeService

application = Application("two members")
for member in ("node-1", "node-2"):
    options = Options()
    options.parseOptions(
        ["--url", os.environ["ZMQRPC_URL"], "--app", "examples.demo.calc:Calc", "--topic", "calc", "--server", member]
    )
    makeService(options).setServiceParent(application)
