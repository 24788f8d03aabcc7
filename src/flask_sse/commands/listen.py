"""The command ``flask sse listen``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import click
from flask.cli import with_appcontext

from ..channels import requested_channels
from ..errors import SSEError
from ..extension import Extension, current_extension
from ..hub.protocol.stream_request import FRAMES, StreamRequest
from ..serving.relay import open_stream, received
from ..wire.cursor import END_ID, FROM_NOW, positions
from ..wire.decode import Decoder, Event
from ..wire.message import RESERVED_PREFIX
from .click_errors import as_click_error

# Longer JSON is indented over several lines.
_LINE_CHARACTERS = 100


@click.command()
@click.argument("channels", nargs=-1)
@click.option(
    "--since",
    default=FROM_NOW,
    help="Resume after this last event id, or at 'earliest'. By default new events only.",
)
@click.option("--raw", is_flag=True, help="Write the bytes of the stream as a browser receives them.")
@click.option("--count", "-n", type=click.IntRange(1), help="End after this number of events.")
@with_appcontext
def listen(*, channels: tuple[str, ...], since: str, raw: bool, count: int | None) -> None:
    """Show events that are published on CHANNELS, until Ctrl-C. The default channel is sse.

    Access rules of the application do not apply. If the hub ends, it reconnects and resumes, as a page does.
    """
    with as_click_error(SSEError, KeyError), contextlib.suppress(KeyboardInterrupt):
        follower = _Follower(current_extension(), requested_channels(channels), since)
        left = count
        for piece, event in follower.pieces():
            if raw:
                click.echo(piece, nl=False)
            if event is None:
                continue
            if not raw:
                _show(event)
            if left is not None and not event.type.startswith(RESERVED_PREFIX):
                left -= 1
                if not left:
                    return


class _Follower:
    """Reads a stream, and when it ends reconnects after the retry delay and resumes."""

    def __init__(self, extension: Extension, channels: tuple[str, ...], since: str) -> None:
        self._extension = extension
        self._channels = channels
        self._last_event_id = since

    def pieces(self) -> Iterator[tuple[bytes, Event | None]]:
        """Yield bytes with the event that they complete, if any, until the hub ends the stream for good."""
        while self._last_event_id != END_ID:
            decoder = Decoder()
            for piece in received(open_stream(self._extension.hub_client, self._request())):
                for part, event in _split(decoder, piece):
                    self._last_event_id = decoder.last_event_id or self._last_event_id
                    yield part, event
            if self._last_event_id != END_ID:
                time.sleep((decoder.retry_ms or 0) / 1000)

    def _request(self) -> StreamRequest:
        settings = self._extension.settings
        kept = settings.kept(self._channels)
        since = dict(zip(kept, positions(self._last_event_id, kept), strict=True))
        rules = replace(settings.rules, max_stream_seconds=None)
        return StreamRequest(self._channels, FRAMES, rules, since)


def _split(decoder: Decoder, piece: bytes) -> Iterator[tuple[bytes, Event | None]]:
    """Split received bytes after each event, because --count may end within them."""
    part = b""
    # An event ends with a line, so one line completes at most one.
    for line in piece.splitlines(keepends=True):
        part += line
        for event in decoder.feed(line):
            yield part, event
            part = b""
    if part:
        yield part, None


def _show(event: Event) -> None:
    is_ours = event.type.startswith(RESERVED_PREFIX)
    head = [
        click.style(time.strftime("%H:%M:%S"), dim=True),
        click.style(_printable(event.type), fg="yellow" if is_ours else "cyan", bold=True),
    ]
    if event.last_event_id:
        head.append(click.style(_printable(event.last_event_id), dim=True))
    click.echo("  ".join(head))
    click.echo("\n".join(f"  {line}" for line in _readable(event.data).split("\n")))


def _readable(data: str) -> str:
    """Return long JSON indented, anything else unchanged."""
    try:
        value = json.loads(data)
    except ValueError:
        value = data
    text = data
    if isinstance(value, dict | list) and len(data) > _LINE_CHARACTERS:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    return _printable(text, keep="\n\t")


def _printable(text: str, keep: str = "") -> str:
    """Return a text without characters that a terminal would execute."""
    return "".join(
        character if character.isprintable() or character in keep else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
