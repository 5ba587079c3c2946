"""What a method raises is raised to its caller as the allow-list of oslo.messaging says."""

from __future__ import annotations

from typing import Any

from zmqrpc.test.oslo.processes import Child, OsloTestCase
from zmqrpc.test.processes import LIMIT, until

OWN = """
    class KindOfOwnError(Exception):
        pass

    class OwnError(KindOfOwnError, KeyError):
        pass

    class OddError(Exception):
        '''It makes something else of what it is given.'''

        def __init__(self, first, second="unknown", *rest, key=None):
            super().__init__(f"odd {first}")
            self.first = first
            self.second = second

    class KeywordError(Exception):
        '''It takes no positional argument.'''

        def __init__(self, *, code):
            super().__init__(code)

    class ClosedError(Exception):
        '''No class may be derived of it.'''

        def __init_subclass__(cls):
            raise TypeError("no")

    class Errors:
        class NestedError(Exception):
            pass

    def own():
        raise OwnError("its text")

    def odd():
        raise OddError(1, 2, 3, key=4)

    def chained():
        try:
            raise LookupError("the cause")
        except LookupError as error:
            raise OwnError("its text") from error

    def keyword():
        raise KeywordError(code=5)

    def closed():
        raise ClosedError("closed")

    def nested():
        raise Errors.NestedError("nested")
"""

OURS = "zmqrpc.test.oslo.mistakes"


class ExceptionTests(OsloTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.child()
        self.server.do("serve", topic="fails", server="one")

    def raised(self, client: Child, kind: str, method: str = "fail"):
        return self.fails(client, "call", topic="fails", method=method, args={"kind": kind}, timeout=10)

    def assert_allowed(self, allowed: str) -> None:
        client = self.child(allowed=[allowed])
        plain = self.raised(client, "Plain")
        self.assertEqual(plain.type, f"{OURS}_Remote.PlainError_Remote")
        self.assertIn("PlainError", plain.kinds)
        self.assertIn("plain\nTraceback", plain.text)
        self.assertIn("in fail\n", plain.text)
        self.assertEqual(plain.arguments, ["plain"])
        argument = self.raised(client, "Argument")
        self.assertEqual((argument.facts["number"], argument.facts["name"]), (5, "five"))
        named = self.raised(client, "Named")
        self.assertIn("NamedError", named.kinds)
        self.assertEqual(named.facts["kwargs"], {"uuid": "u-1"})
        # Those that cannot be made again are told of.
        for kind in ("Stubborn", "Full", "Fussy"):
            failure = self.raised(client, kind)
            self.assertEqual(failure.type, "oslo_messaging.rpc.client.RemoteError")
            self.assertEqual(failure.facts["exc_type"], f"{kind}Error")
        self.assertIn("two", self.raised(client, "Stubborn").text)
        self.assertIn("full", self.raised(client, "Full").text)
        self.assertIn("MuteError", self.raised(client, "Mute").text)
        stranger = self.raised(client, "Stranger")
        self.assertEqual(stranger.type, "oslo_messaging.rpc.client.RemoteError")
        self.assertEqual((stranger.facts["exc_type"], stranger.facts["value"]), ("StrangerError", "from afar"))
        self.assertIn("in fail", stranger.text)

    def test_allowed(self):
        """Exceptions of modules that a transport allows, by name or as they are, are raised as what they are."""
        self.assert_allowed(OURS)
        self.assert_allowed(f"={OURS}")

    def assert_own(self, green: bool) -> None:
        for child in (server := self.child(green), client := self.child(green, allowed=["own_errors"])):
            child.do("find", directory=str(self.directory))
        topic = f"own-{green}"
        server.do("serve", topic=topic, server="one")

        def caught(function: str, kind: str) -> Any:
            """Have a function of the module raise something; return what is caught as a class of the module."""
            args = {"module": "own_errors", "function": function}
            return client.do("catch", module="own_errors", kind=kind, topic=topic, method="run", args=args, timeout=10)

        for kind in ("OwnError", "KindOfOwnError"):
            self.assertIn("its text", caught("own", kind)["text"])
        self.assertEqual(caught("odd", "OddError")["facts"], {"first": "odd 1", "second": "unknown"})
        chained = caught("chained", "OwnError")["text"]
        self.assertIn("LookupError: the cause", chained)
        self.assertIn("direct cause of the following", chained)
        for function, name in (("keyword", "KeywordError"), ("nested", "NestedError"), ("closed", "ClosedError")):
            failure = self.fails(
                client, "call", topic=topic, method="run", args={"module": "own_errors", "function": function}
            )
            self.assertEqual((failure.type, failure.facts["exc_type"]), ("oslo_messaging.rpc.client.RemoteError", name))
            self.assertIn(f"in {function}", failure.text)

    def test_own(self):
        """A module of the application's own is enough: the class of that is caught, with the cause in its text."""
        self.module("own_errors", OWN)
        self.assert_own(False)
        self.assert_own(True)

    def test_others(self):
        """Those that Python brings are always raised as what they are; those of other modules are told of."""
        client = self.child()
        for kind, arguments in (("ValueError", 5), ("KeyError", "no key")):
            failure = self.raised(client, kind)
            self.assertIn(kind, failure.kinds)
            self.assertIn(str(arguments), failure.text)
        missing = self.raised(client, "OSError")
        self.assertIn("FileNotFoundError", missing.kinds)
        self.assertIn("nothing there", missing.text)
        self.assertIn("ValueError", self.raised(client, "Surrogate").kinds)
        for kind in ("Group", "UnicodeDecodeError"):
            failure = self.raised(client, kind)
            self.assertTrue({"RemoteError", kind} & set(failure.kinds), failure.kinds)
            self.assertIn("in fail", failure.text)
        plain = self.raised(client, "Plain")
        self.assertEqual(plain.type, "oslo_messaging.rpc.client.RemoteError")
        self.assertEqual((plain.facts["exc_type"], plain.facts["value"]), ("PlainError", "plain"))
        missing = self.fails(client, "call", topic="fails", method="nothing")
        self.assertIn("NoSuchMethod", missing.text)
        self.assertIn("nothing", missing.text)
        self.assertIn("TypeError", self.fails(client, "call", topic="fails", method="fail").kinds)
        # It still serves.
        self.assertEqual(client.do("call", topic="fails", method="name"), "one")

    def test_expected(self):
        """What a method is expected to raise is raised to its caller, and is nothing that a server complains of."""
        client = self.child(allowed=[OURS])
        self.assertIn("PlainError", self.raised(client, "Plain", "fail_as_expected").kinds)
        self.assertNotIn("PlainError", self.server.err)
        self.assertIn("ValueError", self.raised(client, "ValueError", "fail_as_expected").kinds)
        self.assertIn("ValueError", self.server.err)

    def assert_ended(self, green: bool) -> None:
        topic = f"ended-{green}"
        server, client = self.child(green), self.child()
        server.do("serve", topic=topic, server="one")
        heard: list[str] = []
        for kind in ("SystemExit", "KeyboardInterrupt", "GeneratorExit"):
            if green and kind == "SystemExit":
                # See `test_exit_green`.
                continue
            call = client.begin("seconds", what="call", topic=topic, method="fail", args={"kind": kind}, timeout=LIMIT)
            until(lambda: len(server.do("heard")) > len(heard), "it runs")
            heard.append(kind)
            until(lambda call=call: client.has_ended(call) or server.do("collect"), "the caller hears of it")
            _, error = client.ended(call)
            self.assertIn("RemoteError", error["kinds"])
            self.assertIn("ended its thread", error["text"])
            self.assertEqual(client.do("call", topic=topic, method="name"), "one")

    def test_ended(self):
        """A method that ends its thread answers nothing; its caller hears of that when what it leaves is collected."""
        self.assert_ended(False)

    def test_ended_green(self):
        """So it is with green threads."""
        self.assert_ended(True)

    def test_exit_green(self):
        """Under eventlet `sys.exit` in a method ends the process, as with any driver; its caller hears of it soon."""
        server, client = self.child(green=True), self.child()
        server.do("serve", topic="exit", server="one")
        call = client.begin(
            "seconds", what="call", topic="exit", method="fail", args={"kind": "SystemExit"}, timeout=LIMIT
        )
        self.assertEqual((server.ends(), server.err), (3, ""))
        seconds, error = client.ended(call)
        # What the method leaves may be collected before the process ends.
        self.assertTrue({"MessagingTimeout", "RemoteError"} & set(error["kinds"]), error)
        self.assertLess(seconds, LIMIT / 3, error)
