"""Relay: the hub writes into a socketpair, and somebody here reads the other end.

The web server is one such reader, where the client's socket cannot be taken; ``messages()`` is another.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator

from ..errors import HubError
from ..hub.control import Attach
from ..hub.link import Link
from ..hub.notices import refused

logger = logging.getLogger(__name__)

_RECEIVE_BYTES = 64 * 1024


class Relay:
    """What the hub writes, as the body of a response; the stream opens when it is iterated.

    A hub that cannot be reached is told to the client in the stream: any status but 200 would end its
    ``EventSource`` for good.

    Attributes:
        asked: What the client listens to.
        watch: Is given a function to call when the client leaves; ``None`` where the web server closes
            the response by itself.
    """

    def __init__(self, link: Link, asked: Attach) -> None:
        self.asked = asked
        self.watch: Callable[[Callable[[], None]], None] | None = None
        self._link = link
        self._stream: socket.socket | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._stream = open_stream(self._link, self.asked)
        except HubError as error:
            logger.error("a stream was sent away: %s", error)  # noqa: TRY400 - the text says it all
            yield refused(self.asked.form, "the hub cannot be reached")
            return
        if self.watch is not None:
            self.watch(self.close)
        yield from received(self._stream)

    def close(self) -> None:
        """End the stream, from any thread; an iteration that waits ends, too."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)


def open_stream(link: Link, request: Attach) -> socket.socket:
    """Open a stream whose bytes are read here; the caller closes the socket.

    Raises:
        HubError: If no hub took it.
    """
    ours, hubs = socket.socketpair()
    try:
        link.attach(hubs.fileno(), request)
    except BaseException:
        ours.close()
        raise
    finally:
        hubs.close()
    return ours


def received(stream: socket.socket) -> Iterator[bytes]:
    """Yield what comes out of a stream until it ends, and close it."""
    with stream:
        while data := _receive(stream):
            yield data


def _receive(stream: socket.socket) -> bytes:
    gevent = sys.modules.get("gevent")
    if gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet):
        # gevent's servers run without monkey patching, too; a plain recv would stop all greenlets.
        from gevent.socket import wait_read  # noqa: PLC0415 - an extra, there if it is loaded

        wait_read(stream.fileno())
    try:
        return stream.recv(_RECEIVE_BYTES)
    except OSError:
        return b""
