"""Forks of which Python tells, also where nothing else does."""

from __future__ import annotations

import os
from weakref import WeakKeyDictionary

from twisted.application.service import Service
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import forks


class ForkTests(SynchronousTestCase):
    def fork(self, pid):
        """Fork, where both have a pid; return whether what is to be done in a fork was done in this one."""
        done: list[None] = []
        self.patch(forks, "_in_each", [lambda: done.append(None)])
        self.patch(os, "getpid", lambda: pid)
        fork = os.fork()
        if fork == 0:
            forks.begin_if_forked()
            os._exit(len(done))
        return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])

    def test_same_pid(self):
        """A fork in a name space of its own may have the pid of its parent."""
        self.assertEqual(self.fork(os.getpid()), 1)

    def test_once(self):
        """What was done as Python told of the fork is not done again."""
        self.assertEqual(self.fork(1), 1)

    def test_looked_at_meanwhile(self):
        """Who comes to it while it is done, as a signal handler does, does the rest, and nothing is done twice."""
        done: list[str] = []

        def come_again() -> None:
            done.append("first")
            forks.begin_if_forked()
            done.append("begun")

        self.patch(forks, "_in_each", [come_again, lambda: done.append("second")])
        fork = os.fork()
        if fork == 0:
            os._exit(0 if done == ["first", "second", "begun"] else 1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), 0)

    def test_started_before_anybody_looks(self):
        """What a fork that C has made starts first of all is its own, and not of its parent."""
        told: list[Service] = []
        process = forks._Process()
        process.pid = 1
        for name, fresh in (("_process", process), ("_started", WeakKeyDictionary()), ("_in_each", [])):
            self.patch(forks, name, fresh)
        parents, own = Service(), Service()
        forks._started[parents] = lambda node, _: told.append(node)
        forks.started(own, lambda node, _: told.append(node))
        forks.begin_if_forked()
        self.assertEqual((told, list(forks._started)), ([parents], [own]))
