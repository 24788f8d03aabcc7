"""Frame: the event-stream bytes of one event, encoded once for streams that name it by different ids."""

from __future__ import annotations

import re
from typing import Self

from .encode import encode_event
from .envelope import split_collapse, unpack
from .message import RESERVED_PREFIX, Message

# A string in ASCII without escapes, and perhaps a type: what has no line breaks can be copied as it is.
_PLAIN = re.compile(
    rb'\{"data": "([!#-[\]-~][ !#-[\]-~]*)"(?:, "type": "(?!%s)([!#-[\]-~]+)")?\}' % RESERVED_PREFIX.encode()
)


class Frame:
    r"""The bytes of an event, with room for the cursor that a stream resumes from.

    Attributes:
        collapse: The key of the events that it replaces for a client that is behind; ``None`` for none.

    Example:
        >>> Frame.of_message(Message("x")).behind("abcdefgh.1-0")
        b'data:x\nid:abcdefgh.1-0\n\n'
        >>> Frame.of_message(Message("x", id="order-7")).behind("abcdefgh.1-0")
        b'data:x\nid:order-7\n\nid:abcdefgh.1-0\n\n'
    """

    __slots__ = ("_head", "_rest", "_tail", "collapse")

    def __init__(self, head: bytes, rest: bytes, tail: bytes, collapse: str | None = None) -> None:
        self.collapse = collapse
        self._head = head
        self._rest = rest
        self._tail = tail

    @classmethod
    def of_message(cls, message: Message) -> Self:
        """Encode a message."""
        if message.id is None:
            head = encode_event(message.payload(), event=message.type)[:-1]
            rest = encode_event(retry_ms=message.retry) or b"\n"
            return cls(head, rest, b"\n" + rest)
        # The page sees the application's id on its event. An id without data fires no event
        # (WHATWG HTML 9.2.6), but the reader reconnects with it.
        return cls(message.frame(), b"", b"\n\n")

    @classmethod
    def of_envelope(cls, envelope: bytes) -> Frame:
        """Encode the message in an envelope of any publisher.

        Raises:
            InvalidMessageError: As ``unpack``.
        """
        plain = _PLAIN.fullmatch(envelope)
        if plain is None:
            key, envelope = split_collapse(envelope)
            frame = cls.of_message(unpack(envelope))
            frame.collapse = key
            return frame
        data, event = plain.groups()
        head = b"data:%b\n" % data if event is None else b"event:%b\ndata:%b\n" % (event, data)
        return cls(head, b"\n", b"\n\n")

    def __len__(self) -> int:
        return len(self._head) + len(self._rest)

    @property
    def plain(self) -> bytes:
        """The event as it was published."""
        return self._head + self._rest

    def behind(self, cursor: str) -> bytes:
        """Return the event with the position of the stream behind it."""
        return b"%bid:%b%b" % (self._head, cursor.encode(), self._tail)
