"""Values of settings: what each kind of key may have, also as text, as environment variables give it."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import InvalidSettingError
from .ranges import RETRY_MS, Range
from .wire.text import plain_text


def _number(value: Any) -> float | None:
    """Return a number, also out of a text as environment variables give it; ``None`` if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def seconds_in(allowed: Range) -> Callable[[str, Any], float]:
    """Return what reads a time in seconds."""

    def parse(key: str, value: Any) -> float:
        number = _number(value)
        if number is None or number not in allowed:
            bound = "above 0" if allowed.excludes_least else "of 0 or more"
            raise InvalidSettingError(key, value, f"it must be a number {bound}, in seconds")
        return number

    return parse


def whole_in(allowed: Range) -> Callable[[str, Any], int]:
    """Return what reads a whole number."""

    def parse(key: str, value: Any) -> int:
        number = _number(value)
        if number is None or not number.is_integer() or int(number) not in allowed:
            raise InvalidSettingError(key, value, f"it must be a whole number of {allowed.least:g} or more")
        return int(number)

    return parse


def history_rules(
    fields: Mapping[str, Callable[[str, Any], Any]],
) -> Callable[[str, Any], dict[str, dict[str, Any]]]:
    """Return what reads rules by patterns of channel names.

    Args:
        fields: What reads each field of a rule.
    """

    def parse(key: str, value: Any) -> dict[str, dict[str, Any]]:
        return _read_rules(key, value, fields)

    return parse


def _read_rules(
    key: str, value: Any, fields: Mapping[str, Callable[[str, Any], Any]]
) -> dict[str, dict[str, Any]]:
    hint = (
        'it must be as {"prices:*": {"size": 10, "seconds": 60}}: a pattern of names, size or seconds or both'
    )
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, Mapping):
        raise InvalidSettingError(key, value, hint)
    read: dict[str, dict[str, Any]] = {}
    for pattern, rule in value.items():
        if not isinstance(pattern, str) or not isinstance(rule, Mapping) or not rule.keys() <= fields.keys():
            raise InvalidSettingError(key, value, hint)
        read[plain_text(pattern)] = {name: fields[name](f"{key}: {name}", rule[name]) for name in rule}
    return read


def slow_rules(key: str, value: Any) -> tuple[tuple[str, str], ...]:
    """Read what becomes of slow clients, by patterns of channel names."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    right = isinstance(value, Mapping) and all(
        isinstance(pattern, str) and rule in ("end", "skip") for pattern, rule in value.items()
    )
    if not right:
        raise InvalidSettingError(key, value, 'it must be as {"prices:*": "skip"}: a pattern, end or skip')
    return tuple((plain_text(pattern), plain_text(rule)) for pattern, rule in value.items())


def retry_range(key: str, value: Any) -> tuple[int, int]:
    """Read a range of milliseconds."""
    parts = value.split("-") if isinstance(value, str) else value
    ends = [_number(end) for end in (parts if isinstance(parts, list | tuple) else [parts])]
    numbers = [int(end) for end in ends if end is not None and end.is_integer() and int(end) in RETRY_MS]
    if len(numbers) != len(ends) or len(ends) not in {1, 2} or numbers[0] > numbers[-1]:
        hint = "it must be whole milliseconds, or two numbers as in '2000-5000', the lower one first"
        raise InvalidSettingError(key, value, hint)
    return numbers[0], numbers[-1]


def choice(*choices: str) -> Callable[[str, Any], str]:
    """Return what reads one of several words."""

    def parse(key: str, value: Any) -> str:
        if value not in choices:
            raise InvalidSettingError(key, value, f"it must be one of {', '.join(choices)}")
        return plain_text(value)

    return parse


def hub(key: str, value: Any) -> str:
    """Read where the hub is."""
    if value in ("auto", "thread") or (isinstance(value, str) and value.startswith("unix:/")):
        return plain_text(value)
    hint = "it must be auto, thread, or unix: and an absolute path as in unix:/run/app/sse.sock"
    raise InvalidSettingError(key, value, hint)


def flag(key: str, value: Any) -> bool:
    """Read true or false."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    if type(value) in (bool, int) and value in (0, 1):
        return bool(value)
    raise InvalidSettingError(key, value, "it must be true or false")


def origins(key: str, value: Any) -> frozenset[str]:
    """Read origins of pages."""
    origins = value.split(",") if isinstance(value, str) and value else (value or [])
    if not isinstance(origins, list | tuple | set | frozenset):
        raise InvalidSettingError(key, value, _ORIGINS_HINT)
    read = frozenset(origin.strip() for origin in origins if isinstance(origin, str))
    if len(read) != len(origins) or ("*" in read and len(read) > 1):
        raise InvalidSettingError(key, value, _ORIGINS_HINT)
    for origin in read:
        hint = _flaw_of_origin(origin)
        if hint is not None:
            raise InvalidSettingError(key, value, hint)
    return read


def _flaw_of_origin(origin: str) -> str | None:
    """Return what to write instead of an origin that no browser sends; ``None`` for one that may be sent."""
    if origin == "null":
        # Any page can make itself one of this origin, and would get what the cookies of a visitor allow.
        return 'null is every sandboxed page and every file; only "*" lets them read, without cookies'
    without_port = re.fullmatch("(http://.*):80|(https://.*):443", origin)
    if without_port:
        return f"browsers leave the usual port out; write {without_port[1] or without_port[2]}"
    return None if origin == "*" or _ORIGIN.fullmatch(origin) else _ORIGINS_HINT


_ORIGINS_HINT = (
    'it must be origins as browsers send them, as in ["https://example.com", "tauri://localhost"], or "*" '
    "alone: scheme, host and port, in small letters, without a path"
)
# Capitals are left as they are where the scheme is not one of the web.
_ORIGIN = re.compile(
    r"https?://[a-z0-9._\-\[\]:]+|(?!https?:)[a-z][a-z0-9+.\-]*://[A-Za-z0-9._\-]+(:[0-9]+)?"
)
