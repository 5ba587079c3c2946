"""The settings that a command line names."""

from __future__ import annotations

import os
from argparse import Namespace

from zmqrpc.errors import ConfigError
from zmqrpc.settings import URL_VARIABLE, Settings


def settings_of(options: Namespace) -> Settings:
    """
    Read ``--url`` and ``--config-file``; the environment counts when neither is given.

    :raises ConfigError: nothing names a matchmaker, or a setting is not valid.
    """
    url = options.url
    if not url and not options.config_file:
        url = os.environ.get(URL_VARIABLE)
        if not url:
            raise ConfigError(
                f"no transport URL; give --url or --config-file, or set {URL_VARIABLE}, "
                "for example to zmq+sqlite:///var/lib/zmqrpc/matchmaker.db"
            )
    if not options.config_file:
        return Settings.from_url(url)
    from zmqrpc.configuration import load

    return load(url=url, config_files=options.config_file).settings
