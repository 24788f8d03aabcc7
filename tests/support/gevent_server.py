"""gevent's own WSGI server; run as ``python -m tests.support.gevent_server module:app PORT``."""

from __future__ import annotations

import importlib
import sys

from gevent.pywsgi import WSGIServer


def main(app: str, port: str) -> None:
    """Serve until the process is ended."""
    module, _, name = app.partition(":")
    application = getattr(importlib.import_module(module), name)
    WSGIServer(("127.0.0.1", int(port)), application).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
