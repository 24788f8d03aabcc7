"""Descriptors and memory: the limits that the system sets for a hub, and how much is left of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys

if sys.platform != "win32":
    import fcntl
    import resource

STREAM_SHARE = 0.9
_WITHOUT_LIMIT = 100_000
# Servers that poll with select() can watch lower numbers only, so these are left to them.
_HIGH = 1024
_MEGABYTE = 1024 * 1024


def raise_descriptor_limit() -> None:
    """Raise this process's soft limit of descriptors to the hard one."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS rejects an infinite limit; the soft one stays then.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def has_room(descriptor: int, streams: int) -> bool:
    """Tell whether this process may hold one more stream: up to 90 % of all its descriptors.

    Args:
        descriptor: Of the new stream; the system gives the lowest number that is free.
        streams: How many there are.
    """
    if sys.platform != "win32":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return descriptor < int(soft * STREAM_SHARE)
    return streams < _WITHOUT_LIMIT


def memory_is_limited() -> bool:
    """Tell whether the memory of this process is limited."""
    if sys.platform == "win32":
        return False
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds)


def has_memory(size: int) -> bool:
    """Tell whether so many bytes can be allocated, in blocks of a megabyte."""
    try:
        blocks = [bytearray(_MEGABYTE) for _ in range(size // _MEGABYTE)]
    except MemoryError:
        return False
    return bool(blocks)


def release_memory() -> None:
    """Return free memory to the system; glibc keeps pages below one that is in use."""
    if sys.platform != "win32":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)


def duplicate(descriptor: int) -> int:
    """Return another descriptor of the same connection, numbered from 1024 up where a stream may be there.

    Where the limit leaves none of these, or all are taken, it is a lower one, except for the last tenth.

    Raises:
        OSError: If there are no descriptors left.
    """
    if sys.platform == "win32":
        borrowed = socket.socket(fileno=descriptor)
        try:
            return borrowed.dup().detach()
        finally:
            borrowed.detach()
    else:
        try:
            high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        except OSError:
            return os.dup(descriptor)
        if has_room(high, 0):
            return high
        with contextlib.suppress(OSError):
            low = os.dup(descriptor)
            if low < int(_HIGH * STREAM_SHARE):
                os.close(high)
                return low
            os.close(low)
        return high
