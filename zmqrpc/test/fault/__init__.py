"""
The fault bench: systems of real processes on hosts of their own, with faults, and what became of every call.

``python -m zmqrpc.test.fault`` runs it; ``make fault`` installs before what it needs.
"""
