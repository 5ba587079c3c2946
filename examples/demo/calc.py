"""The endpoint that both servers of the demonstration run."""

import os

from zmqrpc import expose


class Calc:
    """Adds numbers, and remembers what it was told."""

    def __init__(self):
        self.notes = []

    @expose
    def add(self, context, a, b):
        return {"sum": a + b, "pid": os.getpid()}

    @expose
    def divide(self, context, a, b):
        return a / b

    @expose
    def note(self, context, text):
        self.notes.append(text)

    @expose
    def list_notes(self, context):
        return self.notes
