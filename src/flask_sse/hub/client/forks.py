"""Forked processes: what they inherit from their parent and must not use.

That is connections whose answers the parent reads, threads that do not run in them, and locks that such
threads held. They are given up before the child runs any code of its own. A comparison of process ids at the
first use is no substitute: another thread of the child can use the old things before they are given up.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forgetful(Protocol):
    """What holds something that belongs to one process."""

    def forget(self) -> None:
        """Begin again without what was inherited; called in the only thread of a forked process."""
        ...


_all: WeakSet[Forgetful] = WeakSet()


def forget_after_fork(owner: Forgetful) -> None:
    """Have ``owner`` forget in every process that is forked later, for as long as it lives."""
    _all.add(owner)


def _forget() -> None:
    for owner in list(_all):
        owner.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
