"""Finding out as root what the user may do as whom `twistd` goes on (``--uid``)."""

from __future__ import annotations

import os
from pwd import getpwuid


class LaterRights:
    """
    A context in which we may do what the process may do later; without the rights of root it changes nothing.

    :param owner: the user and group that the process goes on as, -1 for the user that it is; None when both stay.
    :ivar user: as whom it is, to stand after what cannot be done; empty for whom we are.
    """

    def __init__(self, owner: tuple[int, int] | None) -> None:
        self._uid, self._gid = owner or (-1, -1)
        self._is_other = self._uid > 0 and os.geteuid() == 0
        self.user = f" as the user {getpwuid(self._uid).pw_name}" if self._is_other else ""

    def __enter__(self) -> None:
        self._before = (os.getegid(), os.getgroups())
        if self._is_other:
            os.setgroups(os.getgrouplist(getpwuid(self._uid).pw_name, self._gid))
            os.setegid(self._gid)
            os.seteuid(self._uid)

    def __exit__(self, *_: object) -> None:
        if self._is_other:
            os.seteuid(0)
            os.setegid(self._before[0])
            os.setgroups(self._before[1])
