"""Message: the checked value that a publisher gives and a reader of ``messages()`` gets.

A message that exists can be sent: its fields are checked once, here, and never repaired. Data that is
not a string becomes JSON when it is encoded; ``dump_json`` is the seam where the Flask face puts the
application's own JSON provider.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import InvalidMessageError
from .cursor import MAX_ID_BYTES, flaw_of_own_id
from .encode import encode_event
from .text import flaw_of_line, flaw_of_text, plain_text

RESERVED_PREFIX = "stream-"

# Timers of JavaScript hold no more; one that is set to a longer time ends at once.
MAX_RETRY_MS = 2**31 - 1


class Message:
    r"""Data that is published as a server-sent event.

    Args:
        data: The payload. A string is sent as it is, anything else as JSON.
        type: The event type that a page listens to; ``None`` or empty means ``message``.
        id: The event id, a string or an integer; ``None`` leaves it to the broker, and with the empty
            string the page sees none.
        retry: The reader's reconnection time in milliseconds.

    Raises:
        InvalidMessageError: If a field cannot be sent. Control characters in ``type`` or ``id`` would forge
            other fields, or make a browser's next request one that web servers refuse; types that begin with
            ``stream-`` are the stream's own, and so are the ids ``stream-end``, ``earliest`` and positions.

    Example:
        >>> str(Message({"temperature": 21}, type="reading"))
        'event:reading\ndata:{"temperature": 21}\n\n'
    """

    __slots__ = ("data", "id", "retry", "type")
    __hash__ = None  # type: ignore[assignment] # as in 1.0: data may be changed in place

    def __init__(
        self,
        data: Any,
        type: str | None = None,  # noqa: A002 - 1.0's signature
        id: str | int | None = None,  # noqa: A002 - 1.0's signature
        retry: int | None = None,
    ) -> None:
        if isinstance(data, str):
            _check("data", data, flaw_of_text(data))
            data = plain_text(data)
        self.data = data
        self.type = _checked_type(type)
        self.id = _checked_id(id)
        self.retry = _checked_retry(retry)

    @staticmethod
    def dump_json(data: Any) -> str:
        """Turn data that is not a string into JSON text; ``NaN`` is refused, as browsers refuse it."""
        return json.dumps(data, allow_nan=False, sort_keys=True)

    def payload(self) -> str:
        """Return the text of the data field.

        Raises:
            InvalidMessageError: If the data cannot become JSON.
        """
        if isinstance(self.data, str):
            return self.data
        try:
            text = self.dump_json(self.data)
        except (TypeError, ValueError, RecursionError) as error:
            hint = "decode it" if isinstance(self.data, bytes) else "publish text, numbers, lists and dicts"
            raise InvalidMessageError(
                "data", self.data, f"it cannot become JSON ({error}); {hint}"
            ) from error
        _check("data", text, flaw_of_text(text))
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as 1.0 stored them in Redis."""
        fields = {"data": self.data, "type": self.type or None, "id": self.id, "retry": self.retry}
        return {name: value for name, value in fields.items() if name == "data" or value is not None}

    def frame(self) -> bytes:
        """Return the event-stream bytes.

        Raises:
            InvalidMessageError: If the data cannot become JSON.
        """
        event_id = None if self.id is None else str(self.id)
        return encode_event(self.payload(), event=self.type, id=event_id, retry_ms=self.retry)

    def __str__(self) -> str:
        return self.frame().decode()

    def __repr__(self) -> str:
        named = "".join(f", {name}={value!r}" for name, value in self.to_dict().items() if name != "data")
        return f"{self.__class__.__name__}({self.data!r}{named})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.to_dict() == other.to_dict()


def _check(field: str, value: object, flaw: str | None) -> None:
    if flaw is not None:
        raise InvalidMessageError(field, value, flaw)


def _checked_type(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidMessageError("type", value, "it must be a string")
    _check("type", value, flaw_of_line(value))
    if value.startswith(RESERVED_PREFIX):
        raise InvalidMessageError("type", value, f"names that begin with {RESERVED_PREFIX} are reserved")
    return plain_text(value)


def _checked_id(value: Any) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidMessageError("id", value, "it must be a string or an integer")
    plain = plain_text(value) if isinstance(value, str) else _plain_int(value)
    try:
        text = str(plain)
    except ValueError:  # Python does not print integers of thousands of digits
        raise InvalidMessageError("id", value, f"it must not be longer than {MAX_ID_BYTES} bytes") from None
    _check("id", value, flaw_of_own_id(text))
    return plain


def _checked_retry(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidMessageError("retry", value, "it must be an integer, in milliseconds")
    if not 0 <= value <= MAX_RETRY_MS:
        raise InvalidMessageError("retry", value, f"it must be 0 to {MAX_RETRY_MS} milliseconds")
    return _plain_int(value)


def _plain_int(number: int) -> int:
    """Return the number alone, as ``plain_text`` does with strings."""
    return int.__int__(number)
