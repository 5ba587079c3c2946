"""What a link itself shows of its instance, whatever the store says."""

from __future__ import annotations

from enum import Enum


class Evidence(Enum):
    """
    How sure it is that the instance is still there.

    ALIVE is a peer that answers. UNSURE is one that is mute, or was lost a moment ago and will be asked whether it is
    still there. UNASKED is one that answered until we closed the connection, as it is not kept. NONE is everything
    else: also a peer that said it stops, and one that is silent for long.
    """

    NONE = "none"
    UNSURE = "unsure"
    UNASKED = "unasked"
    ALIVE = "alive"
