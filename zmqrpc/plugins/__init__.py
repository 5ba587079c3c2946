"""
Plugins of zmqrpc: applications, matchmakers, connection strategies and proxies that others provide.

Put a module into a directory ``zmqrpc/plugins/`` anywhere on the path, without an ``__init__.py``; it is found there.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
