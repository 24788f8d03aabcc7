"""Command line of a hub process: Python, isolated from the application's folder.

A ``token.py``, ``select.py`` or ``signal.py`` beside the application would take the place of the standard
library's, and the hub would fail at its start. So it gets neither the application's ``sys.path`` nor
``PYTHONPATH``, but only the directories of the packages that it needs, behind the standard library. These
are where this process found them: a virtual environment, an editable install, ``PYTHONPATH`` or a zip file.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_PROGRAM = "flask_sse.hub"
# What it imports, and what redis-py may import of its own.
_NEEDED = ("flask_sse", "redis", "hiredis", "jwt", "async_timeout")
# Without the module ``site`` at first, for its directories belong behind these: another release of Flask-SSE
# may be installed there.
_START = (
    "import runpy, site, sys; sys.path += sys.argv[2:]; site.main(); "
    "runpy.run_module(sys.argv[1], run_name='__main__')"
)


def hub_command() -> list[str]:
    """Return the arguments that start a hub process, the interpreter first."""
    return [_python(), "-P", "-S", "-c", _START, _PROGRAM, *_directories()]


def hub_environment() -> dict[str, str]:
    """Return its environment variables."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _python() -> str:
    """Return the Python interpreter; where Python is embedded, as in uWSGI, that is not sys.executable."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    return str(Path(sysconfig.get_path("scripts")) / "python3")


def _directories() -> list[str]:
    """Return where this process found what a hub needs; a zip file counts as a directory."""
    found: dict[str, None] = {}
    for name in _NEEDED:
        spec = None
        with suppress(ValueError):  # a stand-in of the application, which was not imported
            spec = find_spec(name)
        if spec is not None:
            place = next(iter(spec.submodule_search_locations or []), spec.origin or "")
            found[os.path.dirname(os.path.abspath(place))] = None  # noqa: PTH100, PTH120 - as in sys.path
    return list(found)
