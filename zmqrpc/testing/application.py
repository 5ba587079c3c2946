"""The contract of `IRPCApplication` as a test suite, which every application can run, ours or a third party's."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from zmqrpc.configuration import Configuration
from zmqrpc.errors import NoSuchMethod
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.node import connect
from zmqrpc.settings import Settings
from zmqrpc.tap._applications import find
from zmqrpc.tap._offer import Offer, ask
from zmqrpc.tap._refusal import Refusals
from zmqrpc.tap._serving import Serving
from zmqrpc.target import Target

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object


class ApplicationContract(_Case):
    """
    Mix into a `twisted.trial.unittest.TestCase` that has `reactor` and `make_application`.

    The application is run as `twistd zmq-rpc-server` runs it, in the process of the tests and on its loopback
    interface. Whatever it leaves behind in the reactor fails the test.

    :ivar reactor: the reactor.
    :ivar is_plugin: whether ``--app NAME`` has to find it; False for one that is given as ``package.module:object``.
    """

    reactor: Any
    is_plugin = True

    def make_application(self) -> Any:
        """Return the application; for a plugin, the object that is found."""
        raise NotImplementedError

    def make_settings(self) -> Settings:
        """Make the settings that the application is given."""
        return Settings.from_url("zmq+dummy://", drain_timeout=5.0)

    def serving(self) -> Serving:
        """Make what runs the application; it is stopped after the test."""
        application = self.make_application()
        target = Target(topic=application.topic or "contract", server="contract")
        found = [(str(application.name), application)]
        serving = Serving(self.reactor, Refusals("contract"), Configuration(self.make_settings()), found, target)
        self.addCleanup(serving.stopService)
        return serving

    async def offer(self) -> Offer:
        """Ask the application for its endpoints."""
        application, settings = self.make_application(), self.make_settings()
        client = await connect(self.reactor, settings)
        self.addCleanup(client.close)
        return await ask(str(application.name), application, self.reactor, client, settings)

    async def check_served(self) -> None:
        """Fail unless a client reaches the application's server within ten seconds."""
        application = self.make_application()
        target = Target(
            topic=application.topic or "contract", server="contract", exchange=getattr(application, "exchange", None)
        )
        client = await connect(self.reactor, self.make_settings())
        try:
            # Its methods are its own; that there is none of this name can only be said by the server itself.
            await client.call(target, "no_method_has_this_name", timeout=10, wait_for_ready=True)
            self.fail("it exposes a method called no_method_has_this_name")
        except NoSuchMethod:
            pass
        finally:
            await client.close()

    # The tests

    async def test_interface(self) -> None:
        """It provides `IRPCApplication` (and so `IPlugin`), and its names can be names."""
        application = self.make_application()
        self.assertTrue(verifyObject(IRPCApplication, application))
        self.assertTrue(IPlugin.providedBy(application))
        self.assertIsInstance(application.name, str)
        self.assertNotIn(":", application.name, "a name with a colon is taken for package.module:object")
        Target(topic=application.topic, exchange=getattr(application, "exchange", None))

    async def test_found(self) -> None:
        """``--app NAME`` finds this one, and no other has its name."""
        application = self.make_application()
        if self.is_plugin:
            self.assertIs(type(find(application.name)), type(application))

    async def test_endpoints(self) -> None:
        """It gives at least one endpoint, and each exposes something."""
        self.assertNotEqual((await self.offer()).endpoints, [])

    async def test_endpoints_again(self) -> None:
        """Each time it is asked there are new endpoints: a start must not find what the last one left."""
        first, second = await self.offer(), await self.offer()
        shared = [one for one in first.endpoints for other in second.endpoints if one is other]
        self.assertEqual(shared, [])

    async def test_served(self) -> None:
        """It is served under its topic, and stops."""
        serving = self.serving()
        serving.startService()
        await self.check_served()
        await serving.stopService()

    async def test_served_again(self) -> None:
        """After a stop it can be started once more."""
        serving = self.serving()
        for _ in range(2):
            serving.startService()
            await self.check_served()
            await serving.stopService()

    async def test_stopped_at_once(self) -> None:
        """A stop does not wait for endpoints that are still being made, and nothing of them is left."""
        serving = self.serving()
        serving.startService()
        await serving.stopService()
        await deferLater(self.reactor, 0.05)
