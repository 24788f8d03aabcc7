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

from .errors import InvalidMessageError, UsageError
from .wire.text import plain_text

_LINE_END = re.compile("\r\n|\r|\n")
_TURBO_ACTIONS = ("append", "prepend", "replace", "update", "before", "after", "remove", "refresh")
_WITHOUT_HTML = ("remove", "refresh")
_WITHOUT_TARGET = ("refresh",)
# What Datastar can place without a selector: elements with an id, and those that a page has once.
_PLACES_ITSELF = re.compile(r"\sid\s*=|<(html|head|body)[\s>]", re.IGNORECASE)
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

    Raises:
        UsageError: If there is no target, or something is neither text nor markup.
    """
    where = f"{_text('swap', swap)}:{_needed('target', _text('target', target))}"
    return {"data": f'<div hx-swap-oob="{escape(where)}">{_markup(html)}</div>'}


def turbo_stream(action: str, html: str = "", *, target: str | int = "", targets: str = "") -> Fields:
    """Return an event with a Turbo Stream, for a page with ``<turbo-stream-source src="/stream">``.

    Args:
        action: ``append``, ``prepend``, ``replace``, ``update``, ``before``, ``after``, ``remove`` or
            ``refresh``.
        html: What it puts into the page; nothing for the last two.
        target: The id of an element.
        targets: A CSS selector, for several elements.

    Raises:
        UsageError: If Turbo knows no such action, if not exactly one of ``target`` and ``targets`` is given
            (``refresh`` needs none), or if something is neither text nor markup.
    """
    action = _checked("action", action, _TURBO_ACTIONS)
    where = {"target": _text("target", target), "targets": _text("targets", targets)}
    given = [name for name, value in where.items() if value]
    if len(given) > 1 or not (given or action in _WITHOUT_TARGET):
        raise UsageError(
            f"turbo_stream({action!r}) needs a target (an id) or targets (a CSS selector), and one"
        )
    attributes = "".join(f' {name}="{escape(where[name])}"' for name in given)
    template = "" if action in _WITHOUT_HTML else f"<template>{_markup(html)}</template>"
    return {"data": f'<turbo-stream action="{action}"{attributes}>{template}</turbo-stream>'}


def datastar_elements(html: str = "", *, selector: str = "", mode: str = "outer") -> Fields:
    """Return an event that has Datastar patch elements.

    Args:
        html: The elements; with ids, where no selector is given.
        selector: Where they go; empty for where their ids are.
        mode: ``outer``, ``inner``, ``replace``, ``prepend``, ``append``, ``before``, ``after`` or ``remove``.

    Raises:
        UsageError: If Datastar knows no such mode, if the selector has line breaks, or if there is none and
            nothing of the HTML has an id, or if something is neither text nor markup.
    """
    mode = _checked("mode", mode, _DATASTAR_MODES)
    selector, html = _text("selector", selector), _markup(html)
    if "\n" in selector or "\r" in selector:
        raise UsageError("a selector is one line")
    if not selector and not _PLACES_ITSELF.search(html):
        raise UsageError(
            f"datastar_elements with mode {mode!r} needs a selector, or HTML whose elements have ids"
        )
    lines = [f"mode {mode}"] if mode != "outer" else []
    lines += [f"selector {selector}"] if selector else []
    lines += [f"elements {line}" for line in _LINE_END.split(html.strip("\r\n")) if html]
    return {"data": "\n".join(lines), "type": "datastar-patch-elements"}


def datastar_signals(signals: Mapping[str, Any], *, only_if_missing: bool = False) -> Fields:
    """Return an event that has Datastar patch signals.

    Args:
        signals: Their new values by their names; ``None`` removes one.
        only_if_missing: Whether to leave those alone that are there.

    Raises:
        InvalidMessageError: If the signals are no mapping, or a value cannot become JSON: ``NaN`` and dates
            among others.
    """
    if not isinstance(signals, Mapping):
        raise InvalidMessageError("signals", signals, "it must be a mapping of names to values")
    try:
        text = json.dumps(dict(signals), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessageError("signals", signals, f"it cannot become JSON ({error})") from error
    lines = ["onlyIfMissing true"] if only_if_missing else []
    lines.append(f"signals {text}")
    return {"data": "\n".join(lines), "type": "datastar-patch-signals"}


def _checked(what: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UsageError(f"no {what} {value!r}; there are {', '.join(known)}")
    return _text(what, value)


def _text(what: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{what} must be text, not {type(value).__name__}")
    # Plain text: markup, as of Jinja, escapes again what is put into it, and an enumeration writes its name.
    return plain_text(value) if isinstance(value, str) else str(value)


def _markup(html: object) -> str:
    render = getattr(html, "__html__", None)
    return _text("html", html if render is None else render())


def _needed(what: str, text: str) -> str:
    if not text:
        raise UsageError(f"a {what} is needed")
    return text
