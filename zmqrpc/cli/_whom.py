"""Whom a command asks that takes either a TOPIC or an address."""

from __future__ import annotations

from argparse import Namespace

from zmqrpc.cli._configured import configured
from zmqrpc.cli._greeting import check_address, is_address
from zmqrpc.cli._report import Report
from zmqrpc.cli._request import target_of
from zmqrpc.configuration import Configuration, load
from zmqrpc.target import Target


def whom(options: Namespace, report: Report) -> tuple[Configuration, Target | None]:
    """
    Read TOPIC, and the configuration by which its members are found.

    :return: with no target where TOPIC is an address: who is asked there is asked when the store is down, or when there
        is none.
    :raises ConfigError: an option is not valid, or the address is malformed.
    """
    if not is_address(options.topic):
        return configured(options, report), target_of(options)
    check_address(options.topic)
    return load(url="zmq://"), None
