"""An application as a plugin: `twistd zmq-rpc-server --app wordcount`."""

from twisted.application.service import Service
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from zope.interface import implementer

from zmqrpc import expose
from zmqrpc.interfaces import IRPCApplication


class WordCount(Service):
    """An endpoint that is a service: started before its server is found, stopped after the last call has ended."""

    def __init__(self, client):
        self.client = client  # for calling others

    def startService(self):
        super().startService()
        self.counted = 0

    @expose
    def count(self, context, text):
        words = len(text.split())
        self.counted += words
        return words


@implementer(IPlugin, IRPCApplication)
class WordCountApplication:
    name = "wordcount"
    topic = "words"

    def endpoints(self, reactor, client, settings):
        # What takes time may be waited for: a database, say. The server is found when the endpoints are there.
        return deferLater(reactor, 0.01, lambda: [WordCount(client)])


wordcount = WordCountApplication()
