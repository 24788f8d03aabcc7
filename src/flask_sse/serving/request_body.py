"""The body of a request: whether the application has read it to its end.

While it has not, the connection cannot be taken over: a generator may still read from it, and a client that
sent ``Expect: 100-continue`` may still wait for the server's permission to send it.

The rules of ``client_socket`` hold here, too: it is only looked at, and whatever goes wrong means that the
body was not read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


def _gunicorn(body: Any) -> bool:
    reader = body.reader
    ended = reader.length == 0 if hasattr(reader, "length") else reader.parser is None
    return ended and body.buf.tell() == 0


def _gevent(body: Any) -> bool:
    return bool(body.chunk_length == 0 if body.chunked_input else body.position >= body.content_length)


# By the class of ``wsgi.input``, where the server itself knows the end of the body. Of one without a
# ``Content-Length`` nothing else does.
_ENDED: dict[str, Callable[[Any], bool]] = {
    "gunicorn.http.body.Body": _gunicorn,
    "gevent.pywsgi.Input": _gevent,
    "cheroot.server.ChunkedRFile": lambda body: body.closed and not body.buffer,
    "cheroot.server.KnownLengthRFile": lambda body: body.remaining == 0,
    "werkzeug.serving.DechunkedInput": lambda body: body._done,  # noqa: SLF001 - there is no other way
    "a2wsgi.wsgi.Body": lambda body: not body.has_more,
}


def was_read(environ: dict[str, Any]) -> bool:
    """Tell whether the body of a request was read to its end; one that is empty was."""
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    try:
        length = None if is_chunked else int(environ.get("CONTENT_LENGTH") or 0)
        if length == 0:
            return True
        if _was_kept(environ, is_chunked=is_chunked):
            return True
        # Werkzeug counts what was read through it, where the server cannot tell.
        streams = (environ["wsgi.input"], _known_to_werkzeug(environ).get("stream"))
        return any(_is_at_its_end(stream, length) for stream in streams)
    except Exception as error:  # noqa: BLE001 - see the rules of this file
        logger.debug("the body of the request: %r", error)
        return False


def _was_kept(environ: dict[str, Any], *, is_chunked: bool) -> bool:
    """Tell whether ``request.get_data()`` has read all of it, as ``request.json`` does, too."""
    if is_chunked and not environ.get("wsgi.input_terminated"):
        # Werkzeug reads nothing then.
        return False
    return "_cached_data" in _known_to_werkzeug(environ)


def _known_to_werkzeug(environ: dict[str, Any]) -> dict[str, Any]:
    """Return what the request object of the application has read so far."""
    return getattr(environ.get("werkzeug.request"), "__dict__", {})


def _is_at_its_end(stream: Any, length: int | None) -> bool:
    kind = type(stream)
    ended = _ENDED.get(f"{kind.__module__}.{kind.__qualname__}")
    if ended is not None:
        return ended(stream)
    try:
        return length is not None and stream.tell() >= length
    except (AttributeError, OSError):
        return False
