"""Frame: the event-stream bytes of one event, encoded once for streams that name it by different ids."""

from __future__ import annotations

from .encode import encode_event
from .message import Message


class Frame:
    r"""The bytes of an event, with room for the cursor that a stream comes back with.

    Example:
        >>> Frame(Message("x")).behind("abcdefgh.1-0")
        b'data:x\nid:abcdefgh.1-0\n\n'
        >>> Frame(Message("x", id="order-7")).behind("abcdefgh.1-0")
        b'data:x\nid:order-7\n\nid:abcdefgh.1-0\n\n'
    """

    __slots__ = ("_head", "_rest", "_tail")

    def __init__(self, message: Message) -> None:
        if message.id is None:
            self._head = encode_event(message.payload(), event=message.type)[:-1]
            self._rest = encode_event(retry_ms=message.retry) or b"\n"
            self._tail = b"\n" + self._rest
        else:
            # The page sees the application's id on its event. An id without data fires no event
            # (WHATWG HTML 9.2.6), but the reader comes back with it.
            self._head, self._rest, self._tail = message.frame(), b"", b"\n\n"

    def __len__(self) -> int:
        return len(self._head) + len(self._rest)

    @property
    def plain(self) -> bytes:
        """The event as it was published."""
        return self._head + self._rest

    def behind(self, cursor: str) -> bytes:
        """Return the event with the position of the stream behind it."""
        return self._head + b"id:" + cursor.encode() + self._tail
