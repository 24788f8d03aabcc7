"""The marker ``server``: set on each test that starts a program other than Python, by what its code uses.

The test's function, its fixtures and the values of its parameters are followed through the helpers in
``tests``. One row of a parametrised test has the marker and another one has not, if only the values of the
one lead to a program. What cannot be seen before the test runs, such as a function that is looked up in a
dictionary, fails when the program starts: the row takes the marker by hand then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from . import browser, nginx, operators, postgres, tools, webservers
from .brokers import Broker
from .processes import Process

TESTS = Path(__file__).resolve().parents[1]
STORIES = TESTS / "stories"
# What leads to one of these starts a server, a browser or another program of the system.
_PROGRAMS = (
    Broker,
    nginx.Nginx,
    postgres.Postgres,
    webservers.RunningServer,
    webservers.SCRIPTS,
    browser.start_chromium,
    operators.operated,
    tools.require,
)


def mark_servers(items: list[pytest.Item]) -> None:
    """Set the marker on each test that needs it, and on all in ``tests/stories``."""
    for item in items:
        if STORIES in item.path.parents or any(map(_starts_program, _used_by(item))):
            item.add_marker(pytest.mark.server)


def allow_programs(item: pytest.Item) -> None:
    """Let a test start programs other than Python only if it has the marker."""
    Process.allowed = ("",) if item.get_closest_marker("server") else (sys.executable,)


def _used_by(item: pytest.Item) -> Iterator[Any]:
    """Yield the function of a test, those of its fixtures, and the values of its parameters."""
    if not isinstance(item, pytest.Function):
        return
    yield item.function
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        yield definitions[-1].func
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    for value in parameters:
        yield value
        # A fixture that the test asks for by name.
        if isinstance(value, str):
            for definition in item.session._fixturemanager.getfixturedefs(value, item) or ():
                yield definition.func


def _starts_program(value: Any) -> bool:
    """Tell whether the code of a function or class leads to one of the programs."""
    if isinstance(value, partial):
        value = value.func
    return isinstance(value, FunctionType | type) and _leads_to_program(value)


@cache
def _leads_to_program(root: FunctionType | type) -> bool:
    seen: set[int] = set()
    left: list[Any] = [root]
    while left:
        value = left.pop()
        if any(value is program for program in _PROGRAMS):
            return True
        if id(value) not in seen:
            seen.add(id(value))
            left += _named_by(value)
    return False


def _named_by(value: Any) -> Iterator[Any]:
    """Yield what the code of a function or class of ours names."""
    value = getattr(value, "__wrapped__", value)
    if not _is_ours(sys.modules.get(getattr(value, "__module__", ""))):
        return
    if isinstance(value, type):
        yield from value.__bases__
        yield from (each for each in vars(value).values() if isinstance(each, FunctionType))
    elif isinstance(value, FunctionType):
        names = {*_names(value.__code__)}
        for name in names & value.__globals__.keys():
            named = value.__globals__[name]
            yield named
            if isinstance(named, ModuleType) and _is_ours(named):
                yield from (vars(named)[each] for each in names & vars(named).keys())


def _is_ours(module: ModuleType | None) -> bool:
    # By its file: pytest names modules of tests in a way of its own.
    return Path(getattr(module, "__file__", None) or "/").is_relative_to(TESTS)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
