"""Connection strategies: how envelopes of some kinds reach a target."""
