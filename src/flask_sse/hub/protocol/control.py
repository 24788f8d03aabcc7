"""What applications and the hub say to each other over a control connection. No I/O.

A control connection is a stream socket between processes of one user. Everything on it is a *packet*:

    4 bytes   length of the fields  (big endian)
    4 bytes   length of the body    (big endian)
    fields    JSON object; "op" names the request or the answer
    body      bytes as they are: a response head or an envelope

The application says ``hello`` first, with the versions of the protocol that it speaks; the hub answers with
the one that both go on with, or refuses. ``attach`` carries one descriptor with its first byte and has no
answer; ``publish``, ``cursor``, ``read``, ``status`` and ``rejected`` are answered in order. Anything else
breaks the rules, and the hub closes the connection. A hub that wants to take the place of this one says
``succeed`` instead of ``hello``: ``handover.py``.

A *block* is what the hub writes to a reader of ``messages()``: 4 bytes length and an envelope; an empty
one is a heartbeat.
"""

from __future__ import annotations

import functools
import json
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...brokers.base import Entry, Page, Publication, Receipt
from ...channels import STATUS_CHANNEL, check_channel
from ...errors import InvalidChannelError, ProtocolError
from ...settings import MAX_SECONDS, History, StreamRules
from ...version import __version__
from ...wire.cursor import read_cursor
from .grant import NOBODY, Grant

# What this release speaks; the highest that both ends speak counts.
PROTOCOLS = (6,)
# How long either end waits for the answer of the other one.
ANSWER_SECONDS = 2.0
# The limit that applications enforce themselves, before they ask who may listen to all those channels.
STREAM_CHANNELS = "stream_channels"
FRAMES = "frames"
ENVELOPES = "envelopes"
# One text for all streams, not one a packet.
_MODES = {FRAMES: FRAMES, ENVELOPES: ENVELOPES}

# JSON may write one byte of data as six (\\u0000), and the keys around it take some more.
ENVELOPE_GROWTH = 6
ENVELOPE_OVERHEAD_BYTES = 4096
MAX_HEAD_BYTES = 256 * 1024
MAX_FIELDS_BYTES = 1024 * 1024

_RULES = set(StreamRules.__slots__)
_CLAIM = set(Grant.__slots__)
_write_json = json.JSONEncoder(separators=(",", ":")).encode

_LENGTHS = struct.Struct("!II")
_BLOCK_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, not yet understood."""

    op: str
    fields: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes to send.

        Raises:
            ProtocolError: If the fields are too long, as those of hundreds of channels are.
        """
        fields = _write_json({"op": self.op, **self.fields}).encode()
        if len(fields) > MAX_FIELDS_BYTES:
            raise ProtocolError(f"fields of {len(fields)} bytes, the most is {MAX_FIELDS_BYTES}")
        return _LENGTHS.pack(len(fields), len(self.body)) + fields + self.body


@dataclass(frozen=True, slots=True)
class Hello:
    """An application introduces itself.

    Attributes:
        pid: Its process.
        linger_seconds: How long a hub that was started by itself shall outlive its last application.
    """

    pid: int
    linger_seconds: float

    def packet(self) -> Packet:
        """Return the packet that says this."""
        return Packet("hello", {"protocols": PROTOCOLS, **asdict(self)})

    @classmethod
    def read(cls, packet: Packet) -> Hello:
        """Understand a packet.

        Raises:
            ProtocolError: If it is none of ours, or of another version of the protocol.
        """
        fields = packet.fields
        if packet.op != "hello" or common_protocol(fields.get("protocols")) is None:
            raise ProtocolError(f"this hub speaks protocol {PROTOCOLS[-1]}, not {ascii(fields)[:100]}")
        pid, linger = fields.get("pid"), fields.get("linger_seconds")
        if not isinstance(pid, int) or not _is_whole(pid, 1) or linger is None or not _is_time(linger):
            raise ProtocolError("a hello without pid and linger_seconds")
        return cls(pid, float(linger))


def common_protocol(protocols: object) -> int | None:
    """Return the highest version that is spoken here, too; ``None`` if there is none."""
    known = [each for each in protocols if each in PROTOCOLS] if isinstance(protocols, list) else []
    return max(known, default=None)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A stream is handed over; the descriptor comes with the first byte of this packet.

    Attributes:
        channels: What the stream listens to.
        mode: ``FRAMES`` for event-stream bytes, ``ENVELOPES`` for blocks.
        rules: What holds for the stream.
        since: For each of its channels that has a history, what to go on from, as ``wire.cursor`` has it.
        head: The HTTP response head to write first; empty where somebody else wrote it.
        grant: Whose stream it is.
    """

    channels: tuple[str, ...]
    mode: str
    rules: StreamRules
    since: Mapping[str, str] = field(default_factory=dict)
    head: bytes = b""
    grant: Grant = NOBODY

    def packet(self) -> Packet:
        """Return the packet that says this."""
        # A text that is the same for many channels stands there once: it is the client's, and may be long.
        since: dict[str, list[int]] = {}
        for number, name in enumerate(self.channels):
            if name in self.since:
                since.setdefault(self.since[name], []).append(number)
        fields = {
            "channels": self.channels,
            "mode": self.mode,
            "rules": _rules_fields(self.rules),
            "since": [*since.items()],
        }
        if self.grant != NOBODY:
            fields["grant"] = asdict(self.grant)
        return Packet("attach", fields, self.head)

    @classmethod
    def read(cls, packet: Packet) -> StreamRequest:
        """Understand a packet.

        Raises:
            ProtocolError: If it is none of ours.
        """
        fields = packet.fields
        channels, mode = fields.get("channels"), fields.get("mode")
        if not isinstance(channels, list) or not channels or not isinstance(mode, str) or mode not in _MODES:
            raise ProtocolError("an attach without channels or mode")
        try:
            names = {name if name == STATUS_CHANNEL else check_channel(name) for name in channels}
        except InvalidChannelError as error:
            raise ProtocolError(str(error)) from None
        if len(names) != len(channels):
            raise ProtocolError("an attach that names a channel twice")
        since = _read_since(fields.get("since"), channels)
        rules, grant = _read_rules(fields.get("rules")), _read_grant(fields.get("grant"))
        return cls(tuple(channels), _MODES[mode], rules, since, packet.body, grant)


@functools.lru_cache(maxsize=64)
def _rules_fields(rules: StreamRules) -> dict[str, Any]:
    return asdict(rules)


def publish_packet(publication: Publication) -> Packet:
    """Return the packet that publishes through the broker that lives in the hub."""
    fields = {
        "channel": publication.channel,
        "history": _history_fields(publication.history),
        "own_id": publication.own_id,
        "key": publication.key,
    }
    return Packet("publish", fields, publication.envelope)


@functools.lru_cache(maxsize=64)
def _history_fields(history: History) -> dict[str, Any]:
    return asdict(history)


def read_publish(packet: Packet) -> Publication:
    """Understand a packet.

    Raises:
        ProtocolError: If it is none of ours.
    """
    fields = packet.fields
    channel, own_id, key = read_channel(packet), fields.get("own_id"), fields.get("key")
    if not all(text is None or type(text) is str for text in (own_id, key)):
        raise ProtocolError("a publish with an own_id or a key that is no text")
    history = fields.get("history")
    if (
        not isinstance(history, dict)
        or history.keys() != {"size", "seconds"}
        or not _is_whole(history["size"], 0)
        or not _is_time(history["seconds"])
    ):
        raise ProtocolError("a publish without the history of its channel")
    return Publication(channel, packet.body, History(**history), own_id, key)


def publish_answer(receipt: Receipt) -> Packet:
    """Return the packet that says what became of a publication."""
    return answer(receivers=receipt.receivers, cursor=str(receipt.cursor or ""), own_id=receipt.own_id)


def read_receipt(fields: Mapping[str, Any]) -> Receipt:
    """Understand the answer to a publication."""
    return Receipt(int(fields["receivers"]), read_cursor(fields["cursor"]), fields.get("own_id"))


def read_channel(packet: Packet) -> str:
    """Understand what a packet says of a channel.

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
    """Return the packet that asks for a piece of the history of a channel."""
    return Packet("read", {"channel": channel, "since": since})


def read_since(packet: Packet) -> str:
    """Understand from where a piece of a history is asked for.

    Raises:
        ProtocolError: If it says nothing of that.
    """
    since = packet.fields.get("since")
    if not isinstance(since, str):
        raise ProtocolError("a read without since")
    return since


def page_answer(page: Page) -> Packet:
    """Return the packet that has a piece of a history; its bytes are characters there."""
    entries = [(entry.id, entry.previous, entry.envelope.decode("latin-1")) for entry in page.entries]
    return answer(**{**page._asdict(), "entries": entries})


def read_page(fields: Mapping[str, Any]) -> Page:
    """Understand the answer to a read."""
    entries = [
        Entry(event_id, previous, envelope.encode("latin-1"))
        for event_id, previous, envelope in fields["entries"]
    ]
    return Page(fields["epoch"], fields["top"], fields["since"], entries, fields["complete"])


def status_request(*, details: bool = False) -> Packet:
    """Return the packet that asks the hub how it is."""
    return Packet("status", {"details": details})


def rejected_request(limit: str) -> Packet:
    """Return the packet that has a stream counted which the application rejected."""
    return Packet("rejected", {"limit": limit})


def read_rejected(packet: Packet) -> str:
    """Return the limit by which a stream was rejected.

    Raises:
        ProtocolError: If it is none that an application enforces.
    """
    limit = packet.fields.get("limit")
    if limit != STREAM_CHANNELS:
        raise ProtocolError(f"a stream rejected by {ascii(limit)[:80]}")
    return STREAM_CHANNELS


def answer(**fields: Any) -> Packet:
    """Return the packet that answers a request."""
    return Packet("answer", fields)


def refusal(reason: str) -> Packet:
    """Return the packet that says why a request is refused, and by which release."""
    return Packet("refused", {"reason": reason, "version": __version__})


class PacketDecoder:
    """Read packets piece by piece.

    Args:
        max_body_bytes: Longest body; a longer one breaks the rules before it is read.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take the next bytes and yield the packets they complete.

        Raises:
            ProtocolError: If the bytes are no packet of ours.
        """
        self._buffer += data
        while (packet := self._next()) is not None:
            yield packet

    @property
    def incomplete(self) -> bytes:
        """The beginning of the next packet, as far as it was taken."""
        return bytes(self._buffer)

    def begin_with(self, incomplete: bytes) -> None:
        """Take the beginning of the next packet, where another decoder stopped."""
        self._buffer += incomplete

    def _next(self) -> Packet | None:
        if len(self._buffer) < _LENGTHS.size:
            return None
        fields_length, body_length = _LENGTHS.unpack_from(self._buffer)
        if fields_length > MAX_FIELDS_BYTES:
            raise ProtocolError(f"fields of {fields_length} bytes, the most is {MAX_FIELDS_BYTES}")
        if body_length > self._max_body_bytes:
            raise ProtocolError(f"a body of {body_length} bytes, the most is {self._max_body_bytes}")
        body_at = _LENGTHS.size + fields_length
        end = body_at + body_length
        if len(self._buffer) < end:
            return None
        fields = _read_fields(bytes(self._buffer[_LENGTHS.size : body_at]))
        body = bytes(self._buffer[body_at:end])
        del self._buffer[:end]
        return Packet(fields.pop("op"), fields, body)


def encode_block(envelope: bytes) -> bytes:
    """Return the block that carries an envelope; an empty one is a heartbeat."""
    return _BLOCK_LENGTH.pack(len(envelope)) + envelope


class BlockDecoder:
    """Read blocks piece by piece, from a hub that is trusted to keep to its limits."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield the envelopes they complete, heartbeats left out."""
        self._buffer += data
        while len(self._buffer) >= _BLOCK_LENGTH.size:
            end = _BLOCK_LENGTH.size + _BLOCK_LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            envelope = bytes(self._buffer[_BLOCK_LENGTH.size : end])
            del self._buffer[:end]
            if envelope:
                yield envelope


def max_body_bytes(max_event_bytes: int) -> int:
    """Return the longest body that an application within its limits can send."""
    return max(MAX_HEAD_BYTES, ENVELOPE_GROWTH * max_event_bytes + ENVELOPE_OVERHEAD_BYTES)


def _read_fields(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"fields that are not JSON ({error})") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("op"), str):
        raise ProtocolError("fields without op")
    return fields


def _read_rules(fields: Any) -> StreamRules:
    if not isinstance(fields, dict) or fields.keys() != _RULES:
        raise ProtocolError("an attach without the rules of its stream")
    try:
        low, high = fields["retry_ms"]
        return _checked_rules(**{**fields, "retry_ms": (low, high)})
    except (TypeError, ValueError):
        raise ProtocolError("an attach with rules that no application sends") from None


@functools.lru_cache(maxsize=64, typed=True)
def _checked_rules(**fields: Any) -> StreamRules:
    """Return rules; the same object for all streams that have the same, as most of a hub do."""
    if not isinstance(fields["may_skip"], bool):
        raise TypeError
    rules = StreamRules(**fields)
    low, high = rules.retry_ms
    age = rules.max_stream_seconds
    right = (
        _is_time(rules.heartbeat_seconds)
        and rules.heartbeat_seconds > 0
        and _is_whole(rules.max_backlog_bytes, 1)
        and _is_whole(low, 0)
        and _is_whole(high, low)
        and (age is None or (_is_time(age) and age > 0))
        and all(
            most is None or _is_whole(most, 1)
            for most in (rules.max_streams_per_subject, rules.max_streams_per_address)
        )
    )
    if not right:
        raise ValueError
    return rules


def _read_grant(fields: Any) -> Grant:
    if fields is None:
        return NOBODY
    error = ProtocolError("an attach with a grant that no application makes")
    if not isinstance(fields, dict) or fields.keys() != _CLAIM:
        raise error
    texts, times = (fields["subject"], fields["address"]), (fields["ends_in"], fields["issued_at"])
    if (
        not all(text is None or isinstance(text, str) for text in texts)
        or not all(time is None or type(time) in (int, float) for time in times)
        or not isinstance(fields["by_ticket"], bool)
    ):
        raise error
    return Grant(**fields)


def _read_since(groups: Any, channels: list[str]) -> dict[str, str]:
    since: dict[str, str] = {}
    try:
        for text, numbers in groups:
            if not isinstance(text, str) or not all(_is_whole(number, 0) for number in numbers):
                raise TypeError(text)
            since |= {channels[number]: text for number in numbers}
    except (TypeError, ValueError, IndexError):
        raise ProtocolError("an attach that does not say what it goes on from") from None
    return since


def _is_time(value: Any) -> bool:
    """Tell whether a value is seconds that can be waited for."""
    return type(value) in (int, float) and 0 <= value <= MAX_SECONDS


def _is_whole(value: Any, low: int) -> bool:
    return type(value) is int and low <= value <= sys.float_info.max
