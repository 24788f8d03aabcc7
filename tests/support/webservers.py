"""The web servers that we support, each with one worker and one thread."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.tools import ROOT

from .client import Answer, StreamClient, get
from .patience import PATIENT_SECONDS
from .processes import Process, free_port
from .tools import require

SCRIPTS = Path(sys.executable).parent
CERTIFICATE, KEY = "certificate.pem", "key.pem"
# The variable in which asgi.py finds the application.
ASGI_APP_VARIABLE = "WSGI_APP"


@dataclass(frozen=True)
class WebServer:
    """How a web server is started.

    Attributes:
        argv: Makes the command line out of ``module:app`` and a port of 127.0.0.1.
        takeover: Whether the client's own socket can be found in its requests.
        tls: Whether it speaks TLS.
        streams: Whether it can serve event streams at all.
    """

    argv: Callable[[str, int], list[str]]
    takeover: bool
    tls: bool = False
    streams: bool = True


def _script(name: str, *words: str) -> Callable[[str, int], list[str]]:
    """Return a builder of command lines; ``{app}`` and ``{port}`` in the words are filled in."""
    return lambda app, port: [
        str(SCRIPTS / name),
        *(word.format(app=app, port=port) for word in words),
    ]


def _gunicorn(worker: str, *options: str, app: str = "{app}") -> Callable[[str, int], list[str]]:
    bind = ("--bind", "127.0.0.1:{port}", "--no-control-socket")
    return _script("gunicorn", "-k", worker, "-w", "1", "--threads", "1", *bind, *options, app)


def _flask(*options: str) -> Callable[[str, int], list[str]]:
    return _script("flask", "--app", "{app}", "run", "--port", "{port}", *options)


def _uwsgi(*options: str) -> Callable[[str, int], list[str]]:
    return _script("uwsgi", "--module", "{app}", "--need-app", "--die-on-term", *options)


def _uvicorn(loop: str, create: str = "create") -> Callable[[str, int], list[str]]:
    factory = ("--factory", f"tests.support.asgi:{create}")
    return _script("uvicorn", "--port", "{port}", "--loop", loop, *factory)


def _gevent(*options: str) -> Callable[[str, int], list[str]]:
    return _script("python", "-m", *options, "tests.support.gevent_server", "{app}", "{port}")


WEB_SERVERS = {
    "flask-threaded": WebServer(_flask(), takeover=True),
    "flask-single": WebServer(_flask("--without-threads"), takeover=True),
    "gunicorn-sync": WebServer(_gunicorn("sync"), takeover=True),
    "gunicorn-gthread": WebServer(_gunicorn("gthread"), takeover=True),
    "gunicorn-gevent": WebServer(_gunicorn("gevent"), takeover=True),
    "gunicorn-gevent_pywsgi": WebServer(_gunicorn("gevent_pywsgi"), takeover=True),
    "gunicorn-asgi": WebServer(_gunicorn("asgi", app="tests.support.asgi:create()"), takeover=True),
    "gunicorn-tornado": WebServer(_gunicorn("tornado"), takeover=False, streams=False),
    "gunicorn-tls": WebServer(
        _gunicorn("sync", "--certfile", CERTIFICATE, "--keyfile", KEY), takeover=False, tls=True
    ),
    "waitress": WebServer(
        _script("waitress-serve", "--threads=1", "--listen=127.0.0.1:{port}", "{app}"), takeover=True
    ),
    "cheroot": WebServer(
        _script("cheroot", "--bind", "127.0.0.1:{port}", "--threads", "1", "--max-threads", "1", "{app}"),
        takeover=True,
    ),
    "gevent-pywsgi": WebServer(_gevent(), takeover=True),
    "gevent-pywsgi-patched": WebServer(_gevent("gevent.monkey", "--module"), takeover=True),
    "uwsgi-http-socket": WebServer(_uwsgi("--http-socket", "127.0.0.1:{port}"), takeover=True),
    "uwsgi-http": WebServer(_uwsgi("--http", "127.0.0.1:{port}"), takeover=True),
    "uwsgi-gevent": WebServer(_uwsgi("--http-socket", "127.0.0.1:{port}", "--gevent", "100"), takeover=True),
    "uvicorn-asyncio": WebServer(_uvicorn("asyncio"), takeover=True),
    "uvicorn-uvloop": WebServer(_uvicorn("uvloop"), takeover=True),
    "granian": WebServer(
        _script("granian", "--interface", "wsgi", "--port", "{port}", "--blocking-threads", "1", "{app}"),
        takeover=False,
    ),
    "hypercorn": WebServer(_script("hypercorn", "--bind", "127.0.0.1:{port}", "wsgi:{app}"), takeover=False),
    "hypercorn-a2wsgi": WebServer(
        _script("hypercorn", "--bind", "127.0.0.1:{port}", "tests.support.asgi:create()"), takeover=False
    ),
    "uvicorn-asgiref": WebServer(_uvicorn("asyncio", "create_asgiref"), takeover=False, streams=False),
    "uvicorn-starlette": WebServer(_uvicorn("asyncio", "create_starlette"), takeover=False, streams=False),
    "uvicorn-wsgi": WebServer(_uvicorn("asyncio", "create_uvicorn"), takeover=False, streams=False),
}


class RunningServer:
    """A web server that runs; leaving the ``with`` block ends it.

    Attributes:
        name: The key of :data:`WEB_SERVERS`.
        port: Its port of 127.0.0.1.
        process: Its process.
        url: Its address, without a slash at the end.
    """

    def __init__(
        self, name: str, app: str, directory: Path, env: Mapping[str, str] | None, options: Sequence[str]
    ) -> None:
        server = WEB_SERVERS[name]
        self.name = name
        self.port = free_port()
        self.url = f"{'https' if server.tls else 'http'}://127.0.0.1:{self.port}"
        self._tls = server.tls
        self._folder = tempfile.TemporaryDirectory(prefix="server-")
        folder = Path(self._folder.name)
        paths = [str(directory), str(ROOT), os.environ.get("PYTHONPATH", "")]
        settings = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), ASGI_APP_VARIABLE: app}
        try:
            if server.tls:
                make_certificate(folder)
            argv = [*server.argv(app, self.port), *options]
            self.process = Process(argv, {**settings, **(env or {})}, folder, ready=self.port)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.close()
        self._folder.cleanup()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for ``path`` and return the whole answer."""
        return get(self.port, path, headers, tls=self._tls)

    def stream(
        self, path: str, headers: Mapping[str, str] | None = None, http_version: str = "1.1"
    ) -> StreamClient:
        """Open the event stream at ``path``."""
        return StreamClient(self.port, path, headers, http_version=http_version, tls=self._tls)


def start(
    name: str,
    app: str,
    directory: Path,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> RunningServer:
    """Start the web server ``name`` of :data:`WEB_SERVERS` and wait until it takes connections.

    Args:
        name: A key of :data:`WEB_SERVERS`.
        app: The WSGI application, as ``module:name``.
        directory: Where the module is.
        env: Variables on top of our own.
        options: Words at the end of its command line.
    """
    return RunningServer(name, app, directory, env, options)


def make_certificate(folder: Path) -> None:
    """Write a key and a certificate for 127.0.0.1 that it signed itself."""
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    kind = ("-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    subprocess.run(
        [require("openssl"), "req", *kind, *subject, "-keyout", KEY, "-out", CERTIFICATE],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=PATIENT_SECONDS,
    )
