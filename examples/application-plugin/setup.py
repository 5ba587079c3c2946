"""Packaging of an application for zmqrpc."""

from setuptools import setup

setup(
    name="zmqrpc-wordcount",
    version="1.0",
    description="Counts words, for whoever calls",
    python_requires=">=3.11",
    install_requires=["zmqrpc"],
    # Naming the root makes an editable installation put the directory on the path, where plugins are looked for.
    package_dir={"": "."},
    # The last one has no __init__.py: find_packages would not see it.
    packages=["wordcount", "wordcount.test", "zmqrpc.plugins"],
)
