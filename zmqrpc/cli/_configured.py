"""What a command line says about the configuration."""

from __future__ import annotations

from argparse import Namespace

from zmqrpc.cli._report import Report
from zmqrpc.configuration import Configuration, load


def configured(options: Namespace, report: Report) -> Configuration:
    """
    Read ``--url`` and ``--config-file``, and tell people of what is not as they seem to think.

    What is only outdated is told by `zmqrpc config`: here it would be repeated with each command.

    :raises ConfigError: nothing names a matchmaker, or an option is not valid.
    """
    configuration = load(url=options.url, config_files=options.config_file)
    for warning in configuration.warnings:
        if warning not in configuration.outdated:
            report.note(warning)
    return configuration
