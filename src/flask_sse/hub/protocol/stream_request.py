"""The request that hands a stream over to the hub, and the checks of its fields. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...channels import STATUS_CHANNEL, check_channel
from ...errors import InvalidChannelError, ProtocolError
from ...ranges import Range
from ...settings import StreamRules
from .grant import ANONYMOUS, Grant
from .packet import Packet

FRAMES = "frames"
ENVELOPES = "envelopes"
# So that all streams refer to one string, not each to the one of its packet.
_MODES = {FRAMES: FRAMES, ENVELOPES: ENVELOPES}

_RULES = set(StreamRules.__slots__)
_NUMBER = Range(0, is_whole=True)
_GRANT = set(Grant.__slots__)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What a stream is to get; the descriptor comes with the first byte of its packet.

    Attributes:
        channels: What the stream listens to.
        mode: ``FRAMES`` for event-stream bytes, ``ENVELOPES`` for blocks.
        rules: What holds for the stream.
        since: For each of its channels that has a history, what to resume from, as ``wire.cursor`` has it.
        head: The HTTP response head to write first; empty where the web server has written it.
        grant: Whose stream it is, and until when.
    """

    channels: tuple[str, ...]
    mode: str
    rules: StreamRules
    since: Mapping[str, str] = field(default_factory=dict)
    head: bytes = b""
    grant: Grant = ANONYMOUS

    def packet(self) -> Packet:
        """Return the packet that says this."""
        # A text that is the same for many channels is sent once: it is the client's, and may be long.
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
        if self.grant != ANONYMOUS:
            fields["grant"] = asdict(self.grant)
        return Packet("attach", fields, self.head)

    @classmethod
    def read(cls, packet: Packet) -> StreamRequest:
        """Check a packet and return what it says.

        Raises:
            ProtocolError: If it is not a valid request.
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
    rules = StreamRules(**fields)
    if not isinstance(fields["may_skip"], bool) or not rules.is_in_range:
        raise ValueError
    return rules


def _read_grant(fields: Any) -> Grant:
    if fields is None:
        return ANONYMOUS
    error = ProtocolError("an attach with a grant that no application makes")
    if not isinstance(fields, dict) or fields.keys() != _GRANT:
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
            if not isinstance(text, str) or not all(number in _NUMBER for number in numbers):
                raise TypeError(text)
            since |= {channels[number]: text for number in numbers}
    except (TypeError, ValueError, IndexError):
        raise ProtocolError("an attach without what it resumes from") from None
    return since
