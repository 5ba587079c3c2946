"""The endpoint, and the application that makes it."""

from twisted.application.service import Service
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from zope.interface import implementer

from zmqrpc import expose
from zmqrpc.interfaces import IRPCApplication


class WordCount(Service):
    """
    Counts words.

    It is a service too: started before its server can be found, stopped when the last call has ended.
    """

    def startService(self):
        super().startService()
        self.counted = 0

    @expose
    def count(self, context, text):
        """Return how many words a text has."""
        words = len(text.split())
        self.counted += words
        return words

    @expose
    def total(self, context):
        """Return how many words were counted since the start."""
        return self.counted


@implementer(IPlugin, IRPCApplication)
class WordCountApplication:
    name = "wordcount"
    topic = "words"

    async def endpoints(self, reactor, client, settings):
        # What takes time may be waited for: a database, say. The server is found when the endpoints are there.
        await deferLater(reactor, 0.01)
        return [WordCount()]
