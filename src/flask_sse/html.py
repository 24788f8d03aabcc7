"""HTML over the wire: events that htmx, Turbo and Datastar put into the page by themselves.

Each function returns what ``publish`` takes: ``sse.publish(**turbo_stream("append", html, target="list"))``.
The HTML is yours, and so is escaping what visitors typed: ``render_template`` does it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from .errors import UsageError
from .wire.text import plain_text

_LINE_END = re.compile("\r\n|\r|\n")
_TURBO_ACTIONS = ("append", "prepend", "replace", "update", "before", "after", "remove", "refresh")
_WITHOUT_HTML = ("remove", "refresh")
_DATASTAR_MODES = ("outer", "inner", "replace", "prepend", "append", "before", "after", "remove")

Fields = dict[str, Any]


def htmx_oob(html: str, target: str, swap: str = "innerHTML") -> Fields:
    """Return an event that htmx's ``sse`` extension swaps in somewhere else than where it listens.

    The page has ``<div hx-ext="sse" sse-connect="/stream" sse-swap="message" hx-swap="none">``. For an
    element that swaps itself (``sse-swap="todos"``) no helper is needed: publish the HTML with that type.

    Args:
        html: What goes there.
        target: A CSS selector.
        swap: As in ``hx-swap-oob``: ``innerHTML``, ``beforeend``, ``afterbegin``, ``outerHTML``, ...
    """
    where = escape(f"{_plain(swap)}:{_plain(target)}")
    return {"data": f'<div hx-swap-oob="{where}">{html}</div>'}


def turbo_stream(action: str, html: str = "", *, target: str = "", targets: str = "") -> Fields:
    """Return an event with a Turbo Stream, for a page with ``<turbo-stream-source src="/stream">``.

    Args:
        action: ``append``, ``prepend``, ``replace``, ``update``, ``before``, ``after``, ``remove`` or
            ``refresh``.
        html: What it puts into the page; nothing for the last two.
        target: The id of an element.
        targets: A CSS selector, for several elements.

    Raises:
        UsageError: If Turbo knows no such action.
    """
    action = _checked("action", action, _TURBO_ACTIONS)
    where = {"target": target, "targets": targets}
    attributes = "".join(f' {name}="{escape(_plain(value))}"' for name, value in where.items() if value)
    template = "" if action in _WITHOUT_HTML else f"<template>{html}</template>"
    return {"data": f'<turbo-stream action="{action}"{attributes}>{template}</turbo-stream>'}


def datastar_elements(html: str = "", *, selector: str = "", mode: str = "outer") -> Fields:
    """Return an event that has Datastar patch elements.

    Args:
        html: The elements; with ids, where no selector is given.
        selector: Where they go; empty for where their ids are.
        mode: ``outer``, ``inner``, ``replace``, ``prepend``, ``append``, ``before``, ``after`` or ``remove``.

    Raises:
        UsageError: If Datastar knows no such mode, or the selector has line breaks.
    """
    mode, selector = _checked("mode", mode, _DATASTAR_MODES), _plain(selector)
    if "\n" in selector or "\r" in selector:
        raise UsageError("a selector is one line")
    lines = [f"mode {mode}"] if mode != "outer" else []
    lines += [f"selector {selector}"] if selector else []
    lines += [f"elements {line}" for line in _LINE_END.split(html.strip("\r\n")) if html]
    return {"data": "\n".join(lines), "type": "datastar-patch-elements"}


def datastar_signals(signals: Mapping[str, Any], *, only_if_missing: bool = False) -> Fields:
    """Return an event that has Datastar patch signals.

    Args:
        signals: Their new values by their names; ``None`` removes one.
        only_if_missing: Whether to leave those alone that are there.
    """
    lines = ["onlyIfMissing true"] if only_if_missing else []
    lines.append(f"signals {json.dumps(signals, separators=(',', ':'))}")
    return {"data": "\n".join(lines), "type": "datastar-patch-signals"}


def _plain(value: Any) -> str:
    return plain_text(value) if isinstance(value, str) else str(value)


def _checked(what: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UsageError(f"no {what} {value!r}; there are {', '.join(known)}")
    return plain_text(value)
