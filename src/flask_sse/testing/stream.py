"""A live stream, read in process through the response that the application gives to a test client."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import request_finished
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ..errors import UsageError
from ..hub.notices import STREAM_OPEN
from ..serving.response import EventStreamResponse
from ..wire.decode import Decoder
from .hub import HubForTests

# Longest real time for what takes none: a test that fails must end.
OPEN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event as a page sees it.

    Attributes:
        type: ``message`` where none was given.
        data: Its text.
        id: What the page would come back with.
    """

    type: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        """The data, read as JSON."""
        return json.loads(self.data)


class StreamRefusedError(AssertionError):
    """The application did not answer with a stream.

    Attributes:
        status: The status code.
        body: What it answered.
    """

    def __init__(self, status: int, body: str) -> None:
        self.status = status
        self.body = body
        super().__init__(f"no stream, but status {status}: {body[:200]}")


class LiveStream:
    """An open stream; made by ``open_stream``.

    Attributes:
        response: The application's answer, for its status and headers.
        events: All events so far, ``stream-open`` included.
        raw: All bytes so far.
    """

    def __init__(self, response: TestResponse, stream: EventStreamResponse) -> None:
        self.response = response
        self.events: list[StreamEvent] = []
        self.raw = b""
        self._stream = stream
        self._decoder = Decoder()
        self._position = 0
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="flask-sse test stream", daemon=True)
        self._reader.start()
        self._wait(lambda: self.raw or self._ended, OPEN_SECONDS)

    def next(self, type: str | None = None, timeout: float = 1.0) -> StreamEvent:  # noqa: A002 - as in publish
        """Return the next event.

        Args:
            type: Of this type, and others are skipped; ``None`` for any but ``stream-open``.
            timeout: How long to wait for it, in seconds. What was published before is there at once.

        Raises:
            AssertionError: If none came.
        """
        began_at = self._position

        def found() -> StreamEvent | None:
            while self._position < len(self.events):
                event = self.events[self._position]
                self._position += 1
                if event.type == type or (type is None and event.type != STREAM_OPEN):
                    return event
            return None

        event: StreamEvent | None = self._wait(found, timeout)
        if event is None:
            wanted = "event" if type is None else f"event of type {type!r}"
            state = "and the stream is closed" if self._ended else f"within {timeout:g} s"
            raise AssertionError(f"no {wanted} {state}; what came:{_listed(self.events[began_at:])}")
        return event

    def nothing(self) -> None:
        """See that nothing is there that ``next`` would return, of all that was published so far.

        Raises:
            AssertionError: If there is.
            UsageError: If the stream is not one of ``capture()``, whose hub can say so.
        """
        self._sync()
        rest = [event for event in self.events[self._position :] if event.type != STREAM_OPEN]
        if rest:
            raise AssertionError(f"there is something:{_listed(rest)}")

    @property
    def heartbeats(self) -> int:
        """How many comments without text kept the connection alive so far."""
        self._sync()
        return self.raw.split(b"\n\n").count(b":")

    @property
    def closed(self) -> bool:
        """Whether the application has ended the stream."""
        self._sync()
        return self._ended

    @property
    def retry_ms(self) -> int | None:
        """When a browser would come back, in milliseconds."""
        return self._decoder.retry_ms

    @property
    def last_event_id(self) -> str:
        """What a browser would come back with."""
        return self._decoder.last_event_id

    def wait_closed(self, timeout: float = 1.0) -> None:
        """Return as soon as the application has ended the stream.

        Raises:
            AssertionError: If it does not.
        """
        if not self._wait(lambda: self._ended, timeout):
            raise AssertionError(f"open after {timeout:g} s; what came:{_listed(self.events)}")

    def close(self) -> None:
        """Leave, as a page that is closed."""
        self._stream.relay.close()
        self._reader.join()
        self.response.close()

    def _sync(self) -> None:
        link = self._stream.link
        if self._ended:
            return
        if not isinstance(link, HubForTests):
            raise UsageError("this needs a stream of the hub of capture(), or of the fixture sse_events")
        mark = f":{link.mark()}\n".encode()
        if not self._wait(lambda: self._ended or mark in self.raw, OPEN_SECONDS):
            raise AssertionError("the hub does not answer")

    def _read(self) -> None:
        try:
            for piece in self.response.iter_encoded():
                with self._changed:
                    self.raw += piece
                    self.events += [
                        StreamEvent(event.type, event.data, event.last_event_id)
                        for event in self._decoder.feed(piece)
                    ]
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _wait(self, condition: Callable[[], Any], timeout: float) -> Any:
        with self._changed:
            return self._changed.wait_for(condition, timeout)


def _listed(events: list[StreamEvent]) -> str:
    return "".join(f"\n    {event.type}: {event.data[:200]}" for event in events) or " nothing"


@contextmanager
def open_stream(
    client: FlaskClient, path: str, headers: Mapping[str, str] | None = None
) -> Iterator[LiveStream]:
    """Open a stream with a test client and read it as it comes.

    What is published in the block arrives: the stream has begun when the block does. The view's guards, rules
    and tickets hold as for any visitor.

    Args:
        client: Of the application; its cookies are sent.
        path: As ``/stream?channel=news``; of ``sse.stream`` or of a view with ``sse.response``.
        headers: More headers, as ``Last-Event-ID``.

    Raises:
        StreamRefusedError: If the answer is no stream.
    """
    answers: list[Any] = []

    def note(_: object, response: object, **__: object) -> None:
        answers.append(response)

    with request_finished.connected_to(note, client.application):
        response = client.get(path, headers=headers, buffered=False)
    if not answers or not isinstance(answers[-1], EventStreamResponse):
        body = response.get_data(as_text=True)
        response.close()
        raise StreamRefusedError(response.status_code, body)
    stream = LiveStream(response, answers[-1])
    try:
        yield stream
    finally:
        stream.close()
