"""A live stream, read in process through the response that the application gives to a test client."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import request, request_finished
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ..errors import UsageError
from ..hub.protocol.hub_events import STREAM_END, STREAM_OPEN
from ..serving.response import EventStreamResponse
from ..wire.cursor import END_ID
from ..wire.decode import Decoder
from ..wire.encode import HEARTBEAT
from .hub import MARK, HubClientForTests

# Longest real time for what takes none: a test that fails must end.
OPEN_SECONDS = 5.0
_NOT_SAID: int | None = None
# Where the environment of a request has what the application answered.
_ANSWERS = "flask_sse.testing.answers"
_FRAME_END = b"\n\n"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event as a page sees it.

    Attributes:
        type: ``message`` where none was given.
        data: Its text.
        id: The last event id that the page would reconnect with.
        retry: The reconnection time that came with it, in milliseconds; ``None`` if none did.
    """

    type: str
    data: str
    id: str
    retry: int | None = None

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
        retry_ms: When a browser would reconnect, in milliseconds; ``None`` if the stream did not say it.
    """

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        self._raw = bytearray()
        self.retry_ms: int | None = None
        self._stream = _answer_to(response)
        self._decoder = Decoder()
        self._incomplete = b""
        self._events: list[StreamEvent] = []
        self._heartbeats = 0
        self._mark: bytes | None = None
        self._position = 0
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="flask-sse test stream", daemon=True)
        self._reader.start()
        if not self._wait(lambda: self._raw or self._ended, OPEN_SECONDS):
            self.close()
            raise AssertionError(f"the stream has not begun within {OPEN_SECONDS:g} s")

    def next(self, type: str | None = None, timeout: float = 1.0) -> StreamEvent:  # noqa: A002 - as in publish
        """Return the next event.

        Args:
            type: Of this type, and others are skipped; ``None`` for any but ``stream-open``.
            timeout: How long to wait for it, in seconds; 0 is enough for what was published before.

        Raises:
            AssertionError: If none came, or the stream was ended for more than ``SSE_MAX_BACKLOG_BYTES``.
        """
        began_at = self._position

        def found() -> StreamEvent | None:
            while self._position < len(self._events):
                event = self._events[self._position]
                self._position += 1
                if event.type == type or (type is None and event.type != STREAM_OPEN):
                    return event
            return None

        event: StreamEvent | None = self._wait_for_all(found, timeout)
        if event is None:
            self._check_is_whole()
            wanted = "event" if type is None else f"event of type {type!r}"
            state = "and the stream is closed" if self._ended else f"within {timeout:g} s"
            raise AssertionError(f"no {wanted} {state}; what came:{_listed(self._events[began_at:])}")
        return event

    def nothing(self) -> None:
        """See that nothing is there that ``next`` would return, of all that was published so far.

        Raises:
            AssertionError: If there is.
            UsageError: If the stream is not one of ``capture()``, whose hub can say so.
        """
        self._sync()
        self._check_is_whole()
        rest = [event for event in self._events[self._position :] if event.type != STREAM_OPEN]
        if rest:
            raise AssertionError(f"there is something:{_listed(rest)}")

    @property
    def events(self) -> list[StreamEvent]:
        """All events so far, ``stream-open`` included: of a stream of channels all that was published."""
        self._sync_if_it_can()
        self._check_is_whole()
        return list(self._events)

    @property
    def raw(self) -> bytes:
        """All bytes of what is complete so far."""
        return bytes(self._raw)

    @property
    def heartbeats(self) -> int:
        """How many comments without text kept the connection alive so far."""
        self._sync()
        return self._heartbeats

    @property
    def closed(self) -> bool:
        """Whether the application has ended the stream: always after its ``stream-end``."""
        self._sync_if_it_can()
        # The end of the connection follows, from another thread.
        if self._is_over() and not self._wait(lambda: self._ended, OPEN_SECONDS):
            raise AssertionError(f"open {OPEN_SECONDS:g} s after its stream-end")
        return self._ended

    def _is_over(self) -> bool:
        """Return whether ``stream-end`` was about all of it, and not about one run of several channels."""
        channels = self._stream.stream_request.channels
        return any(
            each.id == END_ID or channels == (each.json.get("channel"),)
            for each in self._events
            if each.type == STREAM_END
        )

    @property
    def last_event_id(self) -> str:
        """The last event id that a browser would reconnect with."""
        return self._decoder.last_event_id

    def wait_closed(self, timeout: float = 1.0) -> None:
        """Return as soon as the application has ended the stream.

        Raises:
            AssertionError: If it does not.
        """
        if not self._wait_for_all(lambda: self._ended, timeout):
            raise AssertionError(f"open after {timeout:g} s; what came:{_listed(self._events)}")

    def __repr__(self) -> str:
        count = sum(each.type != STREAM_OPEN for each in self._events)
        events = "1 event" if count == 1 else f"{count} events"
        state = "ended" if self._ended else "open"
        return f"<LiveStream of {self.response.request.full_path.rstrip('?')}: {events}, {state}>"

    def close(self) -> None:
        """Leave, as a page that is closed."""
        self._stream.end_stream()
        self._reader.join(OPEN_SECONDS)
        if self._reader.is_alive():
            raise AssertionError(f"{self!r} has not ended within {OPEN_SECONDS:g} s")
        self.response.close()

    def _check_is_whole(self) -> None:
        """Fail if the hub has ended the stream because the test published faster than it was read."""
        hub_client = self._stream.server
        limit = (
            hub_client.hub.limit_passed(self._stream.stream_request)
            if isinstance(hub_client, HubClientForTests)
            else None
        )
        if limit is not None:
            raise AssertionError(
                "the stream was ended, and events are missing: more waited for its reader than "
                f"SSE_MAX_BACKLOG_BYTES = {limit} allows; publish less at once, or raise the setting"
            )

    def _sync(self) -> None:
        """Return when all that the hub has written so far was read."""
        hub_client = self._stream.server
        if self._ended:
            return
        if not isinstance(hub_client, HubClientForTests):
            raise UsageError("this needs a stream of the hub of capture(), or of the fixture sse_events")
        mark = hub_client.hub.mark(self._stream.stream_request)
        if not self._wait(lambda: self._ended or (mark and self._mark == mark), OPEN_SECONDS):
            raise AssertionError("the hub does not answer")

    def _sync_if_it_can(self) -> None:
        if isinstance(self._stream.server, HubClientForTests):
            self._sync()

    def _wait_for_all(self, condition: Callable[[], Any], timeout: float) -> Any:
        """Wait, and do not give up before all was read that the hub has written: a machine may be slow."""
        result = self._wait(condition, timeout)
        if not result:
            self._sync_if_it_can()
            result = self._wait(condition, 0)
        return result

    def _read(self) -> None:
        try:
            for piece in self.response.iter_encoded():
                with self._changed:
                    *frames, self._incomplete = (self._incomplete + piece).split(_FRAME_END)
                    for frame in frames:
                        self._take(frame + _FRAME_END)
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, frame: bytes) -> None:
        if frame.startswith(MARK):
            # Ours, and no page would get it.
            self._mark = frame
            return
        self._raw += frame
        self._heartbeats += frame == HEARTBEAT
        self._decoder.retry_ms = _NOT_SAID
        events = self._decoder.feed(frame)
        retry_ms = self._decoder.retry_ms
        self._events += [StreamEvent(each.type, each.data, each.last_event_id, retry_ms) for each in events]
        if retry_ms is not None:
            self.retry_ms = retry_ms

    def _wait(self, condition: Callable[[], Any], timeout: float) -> Any:
        with self._changed:
            return self._changed.wait_for(condition, timeout)


def _listed(events: list[StreamEvent]) -> str:
    return "".join(f"\n    {event.type}: {event.data[:200]}" for event in events) or " nothing"


def _answer_to(response: TestResponse) -> EventStreamResponse:
    answers = response.request.environ[_ANSWERS]
    if answers and isinstance(answers[-1], EventStreamResponse):
        return answers[-1]
    # The stream of something else may have no end.
    is_endless = response.mimetype == "text/event-stream" and response.content_length is None
    raise StreamRefusedError(response.status_code, "" if is_endless else response.get_data(as_text=True))


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

    def note(_: object, response: object, **__: object) -> None:
        # Others may be answered at the same time, so it is put into the request that it belongs to.
        request.environ.get(_ANSWERS, []).append(response)

    with request_finished.connected_to(note):
        response = client.get(path, headers=headers, buffered=False, environ_overrides={_ANSWERS: []})
    try:
        stream = LiveStream(response)
    except StreamRefusedError:
        response.close()
        raise
    try:
        yield stream
    finally:
        stream.close()
