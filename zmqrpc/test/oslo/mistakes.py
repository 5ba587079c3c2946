"""What methods raise in tests: exceptions that cross the wire, and some that do not quite."""

import sys


class PlainError(Exception):
    pass


class ArgumentError(Exception):
    def __init__(self, number, name):
        super().__init__(number, name)
        self.number = number
        self.name = name


class NamedError(Exception):
    """As those of many services: a message made of what it is given by name."""

    def __init__(self, message=None, **kwargs):
        self.kwargs = kwargs
        super().__init__(message or f"no instance {kwargs['uuid']}")


class StubbornError(Exception):
    """It cannot be made again of what it holds."""

    def __init__(self):
        super().__init__("one", "two", "three")


class FussyError(Exception):
    """It refuses what it holds."""

    def __init__(self, number):
        super().__init__("text" if isinstance(number, int) else int(number))


class FullError(Exception):
    """It holds what JSON cannot carry."""

    def __init__(self):
        super().__init__("full", object(), sys.stderr)


class MuteError(Exception):
    """It cannot even say what it is."""

    def __str__(self):
        raise RuntimeError("no words")


class StrangerError(Exception):
    """Of a module that is not allowed; see `zmqrpc.test.oslo.endpoints`."""


StrangerError.__module__ = "somewhere.else"

KINDS = {
    "ValueError": lambda: ValueError("no value", 5),
    "KeyError": lambda: KeyError("no key"),
    "OSError": lambda: FileNotFoundError(2, "nothing there", "/file"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"),
    "Surrogate": lambda: ValueError("lone \ud800"),
    "Plain": lambda: PlainError("plain"),
    "Argument": lambda: ArgumentError(5, "five"),
    "Named": lambda: NamedError(uuid="u-1"),
    "Stubborn": StubbornError,
    "Fussy": lambda: FussyError(5),
    "Full": FullError,
    "Mute": MuteError,
    "Stranger": lambda: StrangerError("from afar"),
    "Group": lambda: ExceptionGroup("several", [ValueError("one")]),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
}
