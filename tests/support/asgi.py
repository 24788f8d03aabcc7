"""The WSGI application that ``WSGI_APP`` names, for servers that speak ASGI."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

from a2wsgi import WSGIMiddleware


def create() -> Any:
    """Return the application with one thread to run in."""
    return WSGIMiddleware(_wsgi_app(), workers=1)


def create_asgiref() -> Any:
    """Return the application as asgiref makes one for ASGI of it."""
    from asgiref.wsgi import WsgiToAsgi

    wrap: Any = WsgiToAsgi  # it has no types
    return wrap(_wsgi_app())


def create_starlette() -> Any:
    """Return the application as Starlette and FastAPI do."""
    with warnings.catch_warnings(action="ignore"):  # it is deprecated
        from starlette.middleware.wsgi import WSGIMiddleware as Middleware
    return Middleware(_wsgi_app())


def create_uvicorn() -> Any:
    """Return the application as ``uvicorn --interface wsgi`` does without a2wsgi."""
    from uvicorn.middleware.wsgi import _WSGIMiddleware

    return _WSGIMiddleware(_wsgi_app(), workers=1)


def _wsgi_app() -> Any:
    module, _, name = os.environ["WSGI_APP"].partition(":")
    return getattr(importlib.import_module(module), name)
