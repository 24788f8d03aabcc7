"""Descriptor passing: bytes and open descriptors over a Unix socket, in one message (``SCM_RIGHTS``).

The kernel attaches descriptors to the first byte of a message, makes copies of them in the receiving process
and keeps them open on the way, so the sender may close its own as soon as the call returns. A read never
merges bytes of two messages that both have descriptors; their order is therefore that of the packets.
"""

from __future__ import annotations

import array
import socket
import sys
from collections.abc import Sequence

# As plain numbers: Python's flags take longer to compare than a packet to read.
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_CUT = int(getattr(socket, "MSG_CTRUNC", 0))


def ancillary_bytes(descriptors: int) -> int:
    """Return how many bytes a read must reserve for so many descriptors; 0 on Windows, which passes none."""
    return socket.CMSG_SPACE(descriptors * array.array("i").itemsize) if sys.platform != "win32" else 0


def send_with_descriptors(sock: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Write all bytes, with descriptors at the first of them."""
    # ``sendmsg`` may stop half-way. The descriptors went with its first byte, so the rest is sent without:
    # a second time they would arrive twice.
    sent = socket.send_fds(sock, [data], descriptors) if descriptors else 0
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


def receive_with_descriptors(
    sock: socket.socket, size: int, reserved_bytes: int
) -> tuple[bytes, array.array[int], bool]:
    """Read bytes and the descriptors that came with them, which the caller owns.

    Args:
        sock: The connection.
        size: Most bytes to read.
        reserved_bytes: What ``ancillary_bytes`` returns.

    Returns:
        Bytes, descriptors, and whether these are all. Some are missing where the message had more than were
        reserved for, or this process has reached its limit; the kernel has closed those.
    """
    # Close-on-exec is set by the call itself: a process that another thread starts in between would inherit
    # the client's connection and keep it open.
    data, ancillary, flags, _ = sock.recvmsg(size, reserved_bytes, _CLOSE_ON_EXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, descriptors, not flags & _CUT
