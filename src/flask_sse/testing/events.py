"""What was published, and what a test expects of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any
from unittest.mock import ANY

from ..brokers.base import Publication
from ..wire.envelope import split_collapse, unpack

DEFAULT_TYPE = "message"


@dataclass(frozen=True, repr=False)
class PublishedEvent:
    """An event as the application published it.

    Attributes:
        channel: Who gets it.
        data: What pages get, read from JSON if it was no string.
        type: Its type; ``None`` for ``message``.
        id: The id that the application gave; ``None`` if it gave none.
        retry: As it was given, in milliseconds.
        key: As it was given.
        collapse: As it was given.
    """

    channel: str
    data: Any
    type: str | None = None
    id: str | int | None = None
    retry: int | None = None
    key: str | None = None
    collapse: str | None = None

    def __repr__(self) -> str:
        return _written({each.name: getattr(self, each.name) for each in fields(self)}, leave_out_none=True)


def read_event(publication: Publication) -> PublishedEvent:
    """Read what is on its way to the broker."""
    collapse, _ = split_collapse(publication.envelope)
    message = unpack(publication.envelope)
    own_collapse = None if collapse is None else collapse.removeprefix(f"{publication.channel} ")
    return PublishedEvent(
        publication.channel,
        message.data,
        message.type,
        message.id,
        message.retry,
        publication.key,
        own_collapse,
    )


class _Expected:
    """Equal to every event that has these fields; the others may be anything."""

    __hash__ = None  # type: ignore[assignment] # it is equal to many

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PublishedEvent):
            return NotImplemented
        return all(_shown(other, name) == value for name, value in self._wanted.items())

    def __repr__(self) -> str:
        return _written(self._wanted, leave_out_none=False)


def event(
    *,
    channel: Any = ANY,
    data: Any = ANY,
    type: Any = ANY,  # noqa: A002 - as in publish
    id: Any = ANY,  # noqa: A002 - as in publish
    retry: Any = ANY,
    key: Any = ANY,
    collapse: Any = ANY,
) -> Any:
    """Return what is equal to every published event with these fields; those left out may be anything.

    Values are compared with ``==``, so ``unittest.mock.ANY`` and ``containing`` may stand anywhere.

    Args:
        channel: Who gets it.
        data: What pages get, read from JSON if it was no string.
        type: Its type; ``None`` and ``"message"`` are the same.
        id: The id that the application gave; ``None`` if it gave none.
        retry: As it was given, in milliseconds.
        key: As it was given.
        collapse: As it was given.
    """
    wanted = {"channel": channel, "data": data, "type": type, "id": id, "retry": retry}
    wanted |= {"key": key, "collapse": collapse}
    if type is None:
        wanted["type"] = DEFAULT_TYPE
    return _Expected({name: value for name, value in wanted.items() if value is not ANY})


def _shown(event: PublishedEvent, name: str) -> Any:
    """Return a field as pages see it: an event without type is a message."""
    value = getattr(event, name)
    return DEFAULT_TYPE if name == "type" and not value else value


class _Containing:
    __hash__ = None  # type: ignore[assignment] # it is equal to many

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and all(
            name in other and other[name] == value for name, value in self._wanted.items()
        )

    def __repr__(self) -> str:
        return f"containing({', '.join(f'{name}={value!r}' for name, value in self._wanted.items())})"


def containing(**wanted: Any) -> Any:
    """Return what is equal to every dictionary that has these keys and values, and perhaps others."""
    return _Containing(wanted)


def _written(values: dict[str, Any], *, leave_out_none: bool) -> str:
    shown = [f"{name}={value!r}" for name, value in values.items() if value is not None or not leave_out_none]
    return f"event({', '.join(shown)})"
