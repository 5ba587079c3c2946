"""What HELLO and WELCOME say about who says them (docs/spec/wire, HELLO and WELCOME)."""

from __future__ import annotations

from zmqrpc.record import Role

CLIENT, SERVER, ROUTER = "client", str(Role.SERVER), str(Role.ROUTER)
"""Roles: who calls, who serves, and a proxy that routes."""

PUBLISH = "publish"
"""The feature of a proxy that publishes, and of a client that has something published."""
