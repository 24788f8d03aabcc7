"""The WSGI application that ``WSGI_APP`` names, for servers that speak ASGI."""

from __future__ import annotations

import importlib
import os
from typing import Any

from a2wsgi import WSGIMiddleware


def create() -> Any:
    """Return the application with one thread to run in."""
    module, _, name = os.environ["WSGI_APP"].partition(":")
    return WSGIMiddleware(getattr(importlib.import_module(module), name), workers=1)
