"""Doubles for the tests of users: nodes, matchmakers and a network without sockets or real time."""
