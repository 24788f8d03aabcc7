"""Message stream: a stream of the hub that a program reads in place of a browser."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

from .channels import check_channel
from .errors import HubUnavailableError
from .hub.client.hub_client import HubClient
from .hub.protocol.block import BlockDecoder
from .hub.protocol.stream_request import ENVELOPES, StreamRequest
from .producing.source import current_source
from .serving.relay import open_stream, received
from .settings import Settings
from .wire.cursor import FROM_NOW
from .wire.envelope import unpack
from .wire.message import Message


def listen(hub_client: HubClient, settings: Settings, channel: str) -> Iterator[Message]:
    """Yield what is published on a channel after this call has returned, until it is closed.

    Raises:
        InvalidChannelError: If the channel's name cannot be used.
        HubUnavailableError: If no hub took the stream, or the hub ended it.
    """
    channels = (check_channel(channel),)
    rules = replace(settings.rules, max_stream_seconds=None)
    request = StreamRequest(channels, ENVELOPES, rules, dict.fromkeys(settings.kept(channels), FROM_NOW))
    stream = open_stream(hub_client, request)
    pieces = received(stream)
    decoder = BlockDecoder()
    # The hub writes first when the broker has confirmed the channel.
    first = list(decoder.feed(next(pieces, b"")))

    def wake() -> None:
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)

    def envelopes() -> Iterator[bytes]:
        yield from first
        # Where a page waits for this, its generator must not wait for ever when the page has left.
        source = current_source()
        with source.woken_by(wake) if source is not None else contextlib.nullcontext():
            for piece in pieces:
                yield from decoder.feed(piece)
        if source is not None and source.is_stopped:
            return
        raise HubUnavailableError("the stream of messages()", "the hub ended it")

    return map(unpack, envelopes())
