"""The version of zmqrpc: the one place that names it; setup.py, the documentation and the news read it here."""

__version__ = "0.1.0"
