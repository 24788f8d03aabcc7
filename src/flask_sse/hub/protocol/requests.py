"""Requests of applications that the hub answers, and those answers. No I/O.

Each has a function for the end that sends it and one, with its checks, for the end that receives it. What an
application sends is checked in full; what the hub answers is trusted.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...brokers.base import Entry, Page, Publication, Receipt
from ...errors import ProtocolError
from ...ranges import HISTORY_SECONDS, HISTORY_SIZE
from ...settings import History
from ...version import __version__
from ...wire.cursor import read_cursor
from .packet import Packet

# The limit that applications enforce themselves, before they ask who may listen to all those channels.
STREAM_CHANNELS = "stream_channels"


def answer(**fields: Any) -> Packet:
    """Return the packet that answers a request."""
    return Packet("answer", fields)


def refusal(reason: str) -> Packet:
    """Return the packet that says why a request is refused, and by which release."""
    return Packet("refused", {"reason": reason, "version": __version__})


def submit_request(publication: Publication) -> Packet:
    """Return the packet that hands a publication to the broker that lives in the hub."""
    fields = {
        "channel": publication.channel,
        "history": _history_fields(publication.history),
        "own_id": publication.own_id,
        "key": publication.key,
    }
    return Packet("submit", fields, publication.envelope)


@functools.lru_cache(maxsize=64)
def _history_fields(history: History) -> dict[str, Any]:
    return asdict(history)


def read_publication(packet: Packet) -> Publication:
    """Check a packet of ``submit_request`` and return its publication.

    Raises:
        ProtocolError: If it has none that is valid.
    """
    fields = packet.fields
    channel, own_id, key = read_channel(packet), fields.get("own_id"), fields.get("key")
    if not all(text is None or type(text) is str for text in (own_id, key)):
        raise ProtocolError("a submit with an own_id or a key that is not a string")
    history = fields.get("history")
    if (
        not isinstance(history, dict)
        or history.keys() != {"size", "seconds"}
        or history["size"] not in HISTORY_SIZE
        or history["seconds"] not in HISTORY_SECONDS
    ):
        raise ProtocolError("a submit without the history of its channel")
    return Publication(channel, packet.body, History(**history), own_id, key)


def receipt_answer(receipt: Receipt) -> Packet:
    """Return the packet that has the result of a publication."""
    return answer(receivers=receipt.receivers, cursor=str(receipt.cursor or ""), own_id=receipt.own_id)


def read_receipt(fields: Mapping[str, Any]) -> Receipt:
    """Return the result of a publication."""
    return Receipt(int(fields["receivers"]), read_cursor(fields["cursor"]), fields.get("own_id"))


def read_channel(packet: Packet) -> str:
    """Return the channel that a packet names.

    Raises:
        ProtocolError: If it names none.
    """
    channel = packet.fields.get("channel")
    if not isinstance(channel, str):
        raise ProtocolError(f"a {packet.op} without channel")
    return channel


def cursor_request(channel: str) -> Packet:
    """Return the packet that asks for the position behind the last event of a channel."""
    return Packet("cursor", {"channel": channel})


def read_request(channel: str, since: str) -> Packet:
    """Return the packet that asks for a page of the history of a channel."""
    return Packet("read", {"channel": channel, "since": since})


def read_since(packet: Packet) -> str:
    """Return the position behind which a page is to begin.

    Raises:
        ProtocolError: If the packet has none.
    """
    since = packet.fields.get("since")
    if not isinstance(since, str):
        raise ProtocolError("a read without since")
    return since


def page_answer(page: Page) -> Packet:
    """Return the packet that has a page of a history; each byte of an envelope is one character there."""
    entries = [(entry.id, entry.previous, entry.envelope.decode("latin-1")) for entry in page.entries]
    return answer(**{**page._asdict(), "entries": entries})


def read_page(fields: Mapping[str, Any]) -> Page:
    """Return the page of an answer."""
    entries = [
        Entry(event_id, previous, envelope.encode("latin-1"))
        for event_id, previous, envelope in fields["entries"]
    ]
    return Page(fields["epoch"], fields["top"], fields["since"], entries, fields["complete"])


def status_request(*, details: bool = False) -> Packet:
    """Return the packet that asks the hub for its status."""
    return Packet("status", {"details": details})


def rejected_request(limit: str) -> Packet:
    """Return the packet that has a stream counted which the application rejected."""
    return Packet("rejected", {"limit": limit})


def read_rejected(packet: Packet) -> str:
    """Return the limit by which a stream was rejected.

    Raises:
        ProtocolError: If it is not one that an application enforces.
    """
    limit = packet.fields.get("limit")
    if limit != STREAM_CHANNELS:
        raise ProtocolError(f"a stream rejected by {ascii(limit)[:80]}")
    return STREAM_CHANNELS
