"""The tests of zmqrpc."""

from contextlib import suppress

# Children of tests may run where it is not installed.
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # The machine may be busy with something else: how long an example takes says nothing.
    settings.register_profile("zmqrpc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("zmqrpc")
