"""The contract suite of applications: what keeps it, and that it finds what does not."""

from __future__ import annotations

from twisted.application.service import IService, Service
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from zmqrpc import expose
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.test.tap.test_serving import Calc
from zmqrpc.testing.application import ApplicationContract


@implementer(IService)
class Slow(Service):
    @expose
    def get(self, context):
        return 1

    def startService(self):
        super().startService()
        return deferLater(reactor, 0.01)


@implementer(IPlugin, IRPCApplication)
class Kept:
    """Takes its time for everything."""

    name = "kept"
    topic: str | None = None

    async def endpoints(self, reactor, client, settings):
        await deferLater(reactor, 0.01)
        return (endpoint for endpoint in (Calc(), Slow()))


class KeptTests(ApplicationContract, TestCase):
    reactor = reactor
    is_plugin = False

    def make_application(self):
        return Kept()


class BrokenTests(TestCase):
    """What a third party's application may get wrong."""

    def run_one(self, test, **attributes):
        application = type("Broken", (Kept,), attributes)()
        case = KeptTests(test)
        case.is_plugin = True
        self.patch(case, "make_application", lambda: application)
        # So that what it cleans up is waited for.
        self.patch(case, "addCleanup", self.addCleanup)
        return getattr(case, test)()

    async def assert_fails(self, test, error=None, **attributes):
        with self.assertRaises(error or self.failureException):
            await self.run_one(test, **attributes)

    async def test_no_plugin(self):
        await self.assert_fails("test_found", ConfigError)

    async def test_name(self):
        await self.assert_fails("test_interface", name=5)
        await self.assert_fails("test_interface", name="a:b")
        await self.assert_fails("test_interface", ConfigError, topic="")

    async def test_offers_nothing(self):
        await self.assert_fails("test_endpoints", ConfigError, endpoints=lambda self, reactor, client, settings: [])
        await self.assert_fails("test_endpoints", ConfigError, endpoints=lambda self, reactor, client, settings: [3])

    async def test_same_endpoints(self):
        same = [Calc()]
        await self.assert_fails("test_endpoints_again", endpoints=lambda self, reactor, client, settings: same)
