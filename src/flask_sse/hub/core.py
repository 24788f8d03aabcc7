"""What the hub decides: who gets which bytes, and when. No I/O, no clock of its own.

Rules of this file: it is called from one thread, takes bytes and ``now`` (seconds of any monotonic
clock) and answers what to write to whom and whom to end. It never touches a socket; the members it
hands back are the objects it was given.

Streams that listen to the same channels in the same form are a *group*: an event is encoded once for
each group, and all that became ready in one turn of the loop is joined into one write a stream.

A stream opens when the broker has confirmed all its channels, so that whatever is published after the
client has seen its head arrives. Until then it *waits*; it opens with a comment that says so when the
broker cannot be reached.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Generic, TypeVar

from ..errors import InvalidMessageError
from ..settings import StreamRules
from ..wire.encode import HEARTBEAT, encode_comment, encode_event
from ..wire.envelope import unpack
from .agenda import TICK_SECONDS, Agenda, Item
from .control import ENVELOPES, encode_block, max_body_bytes

MAX_WAIT_SECONDS = 1.0
CHANNEL_LINGER_SECONDS = 60.0
REFUSED_RETRY_MS = (30_000, 90_000)

# Of its own: where the hub is a thread, an application that seeds Python's would make all streams alike.
_dice = random.Random()  # noqa: S311 - spreads load

BROKER_AWAY = encode_comment("the broker cannot be reached; events come as soon as it is back")


class Member(Item):
    """One open stream as the core knows it; the hub's ``Stream`` adds the socket."""

    __slots__ = (
        "channels",
        "ends_at",
        "form",
        "group",
        "pace",
        "quiet_since",
        "rules",
        "waits_for",
    )

    def __init__(self, channels: tuple[str, ...], form: str, rules: StreamRules) -> None:
        super().__init__()
        self.channels = channels
        self.form = form
        self.rules = rules
        self.group: Group[Any] | None = None
        self.waits_for: set[str] | None = None
        self.quiet_since = 0.0
        self.pace = 0.0
        self.ends_at: float | None = None


M = TypeVar("M", bound=Member)


class Group(Generic[M]):
    """Streams that get the same bytes, and the bytes that wait for the end of this turn."""

    __slots__ = ("key", "members", "pending", "written_at")

    def __init__(self, key: tuple[str, tuple[str, ...]]) -> None:
        self.key = key
        self.members: set[M] = set()
        self.pending: list[bytes] = []
        self.written_at = 0.0


@dataclass(slots=True)
class _Channel(Generic[M]):
    confirmed: bool = False
    streams: int = 0
    groups: list[Group[M]] = field(default_factory=list)
    waiting: set[M] = field(default_factory=set)


@dataclass(slots=True)
class Counters:
    """What happened since the hub began."""

    events: int = 0
    foreign_refused: int = 0
    opened: int = 0


class Core(Generic[M]):
    """Channels, groups, heartbeats and ages of all streams of one hub."""

    def __init__(self, subscribe: Callable[[str], None], unsubscribe: Callable[[str], None]) -> None:
        """Make a hub without streams.

        Args:
            subscribe: Called with a channel that got its first stream.
            unsubscribe: Called with a channel that had no stream for a minute.
        """
        self.counters = Counters()
        self.broker_away = False
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._channels: dict[str, _Channel[M]] = {}
        self._idle_since: dict[str, float] = {}
        self._groups: dict[tuple[str, tuple[str, ...]], Group[M]] = {}
        self._dirty: list[Group[M]] = []
        self._ready: list[tuple[bytes, set[M]]] = []
        self._members: set[M] = set()
        self._agenda: Agenda[M] = Agenda()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> frozenset[M]:
        """Every stream, waiting ones included."""
        return frozenset(self._members)

    @property
    def channels(self) -> list[str]:
        """Channels that have streams."""
        return sorted(self._channels.keys() - self._idle_since.keys())

    # -- streams come and go -------------------------------------------------------------------

    def add(self, member: M, now: float) -> bytes | None:
        """Take a stream in.

        Returns:
            The first bytes to write, or ``None`` when the stream waits for its channels; then
            ``subscribed``, ``lost`` or ``tick`` hands it back when it opens.
        """
        self._members.add(member)
        member.waits_for = set()
        for name in member.channels:
            self._idle_since.pop(name, None)
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
                self._subscribe(name)
            channel.streams += 1
            if not channel.confirmed:
                channel.waiting.add(member)
                member.waits_for.add(name)
        member.quiet_since = now
        if not member.waits_for or self.broker_away:
            return self._open(member, now)
        self._agenda.put(member, now + MAX_WAIT_SECONDS)
        return None

    def remove(self, member: M, now: float) -> None:
        """Forget a stream whose socket is gone."""
        if member not in self._members:
            return
        self._members.discard(member)
        self._agenda.drop(member)
        group = member.group
        if group is not None:
            group.members.discard(member)
            if not group.members:
                self._drop_group(group)
        for name in member.channels:
            channel = self._channels[name]
            channel.waiting.discard(member)
            channel.streams -= 1
            if not channel.streams:
                self._idle_since[name] = now

    def subscribed(self, name: str, now: float) -> list[tuple[M, bytes]]:
        """Note that the broker confirmed a channel; return streams that open, with first bytes."""
        self.broker_away = False
        channel = self._channels.get(name)
        if channel is None:
            return []
        channel.confirmed = True
        waiting, channel.waiting = channel.waiting, set()
        opened = []
        for member in waiting:
            member.waits_for = (member.waits_for or set()) - {name}
            if not member.waits_for:
                opened.append((member, self._open(member, now)))
        return opened

    def lost(self, now: float) -> list[tuple[M, bytes]]:
        """Note that the broker is away; return the waiting streams, which open and say so."""
        self.broker_away = True
        waiting: set[M] = set()
        for channel in self._channels.values():
            channel.confirmed = False
            waiting |= channel.waiting
        return [(member, self._open(member, now)) for member in waiting]

    def _open(self, member: M, now: float) -> bytes:
        late = bool(member.waits_for)
        for name in member.waits_for or ():
            self._channels[name].waiting.discard(member)
        member.waits_for = None
        rules = member.rules
        # Below 1, so that a stream is never silent for longer than the setting says, and spread, so
        # that the heartbeats of many streams do not fall together.
        member.pace = rules.heartbeat_seconds * _dice.uniform(0.8, 1.0)
        member.quiet_since = now
        if rules.max_stream_seconds is not None:
            member.ends_at = now + rules.max_stream_seconds * _dice.uniform(0.8, 1.0)
        self._join_group(member)
        self._agenda.put(member, self._next_look(member))
        self.counters.opened += 1
        if member.form == ENVELOPES:
            return encode_block(b"")
        return _retry(rules.retry_ms) + (BROKER_AWAY if late else b"")

    def _join_group(self, member: M) -> None:
        key = (member.form, tuple(sorted(member.channels)))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
            for name in member.channels:
                self._channels[name].groups.append(group)
        if group.pending:
            # What was published before this stream came is not for it.
            self._ready.append((b"".join(group.pending), set(group.members)))
            group.pending = []
        group.members.add(member)
        member.group = group

    def _drop_group(self, group: Group[M]) -> None:
        del self._groups[group.key]
        for name in group.key[1]:
            self._channels[name].groups.remove(group)

    # -- events --------------------------------------------------------------------------------

    def deliver(self, name: str, envelope: bytes, max_event_bytes: int) -> int:
        """Queue an event for the streams of a channel; ``flush`` writes it.

        Returns:
            How many streams get it.

        Raises:
            InvalidMessageError: If no event can be made of the envelope; nobody gets anything.
        """
        channel = self._channels.get(name)
        if channel is None or not channel.groups:
            return 0
        try:
            if len(envelope) > max_body_bytes(max_event_bytes):
                raise InvalidMessageError("envelope", envelope[:80], "it is too large")
            frame = unpack(envelope).frame()
        except InvalidMessageError:
            self.counters.foreign_refused += 1
            raise
        self.counters.events += 1
        for group in channel.groups:
            if not group.pending:
                self._dirty.append(group)
            form, _ = group.key
            group.pending.append(encode_block(envelope) if form == ENVELOPES else frame)
        return sum(len(group.members) for group in channel.groups)

    def flush(self, now: float) -> Iterator[tuple[bytes, set[M]]]:
        """Yield what became ready since the last call: bytes, and the streams to write them to.

        The set is the core's own: collect streams to remove and remove them afterwards.
        """
        ready, self._ready = self._ready, []
        for data, members in ready:
            yield data, members & self._members
        dirty, self._dirty = self._dirty, []
        for group in dirty:
            if not group.pending:
                continue
            data = group.pending[0] if len(group.pending) == 1 else b"".join(group.pending)
            group.pending = []
            group.written_at = now
            yield data, group.members

    # -- time ----------------------------------------------------------------------------------

    def tick(self, now: float) -> Iterator[tuple[M, bytes, bool]]:
        """Yield what time makes due: the stream, bytes to write, and whether it ends with them.

        Call it every ``TICK_SECONDS``. Channels that stay without streams are given up here, too.
        """
        for member in self._agenda.take(now):
            yield from self._look(member, now)
        for name in list(takewhile(lambda n: self._is_over(n, now), self._idle_since)):
            del self._idle_since[name]
            del self._channels[name]
            self._unsubscribe(name)

    def _look(self, member: M, now: float) -> Iterator[tuple[M, bytes, bool]]:
        soon = now + TICK_SECONDS
        if member.waits_for is not None:
            yield member, self._open(member, now), False
            return
        if member.ends_at is not None and member.ends_at <= soon:
            yield member, goodbye(member.form, member.rules.retry_ms), True
            return
        if self._heartbeat_at(member) <= soon:
            member.quiet_since = now
            yield member, encode_block(b"") if member.form == ENVELOPES else HEARTBEAT, False
        self._agenda.put(member, self._next_look(member))

    def _heartbeat_at(self, member: M) -> float:
        written_at = member.group.written_at if member.group is not None else 0.0
        return max(member.quiet_since, written_at) + member.pace

    def _next_look(self, member: M) -> float:
        due = self._heartbeat_at(member)
        return due if member.ends_at is None else min(due, member.ends_at)

    def _is_over(self, name: str, now: float) -> bool:
        return now - self._idle_since[name] >= CHANNEL_LINGER_SECONDS


def goodbye(form: str, retry_ms: tuple[int, int]) -> bytes:
    """Return the last bytes of a stream that the hub ends: when to come back."""
    return b"" if form == ENVELOPES else _retry(retry_ms)


def refused(form: str, reason: str) -> bytes:
    """Return the whole body of a stream that is refused politely: why, and a long time to wait.

    Any status but 200 would end a browser's ``EventSource`` for good.
    """
    if form == ENVELOPES:
        return b""
    return encode_comment(reason) + _retry(REFUSED_RETRY_MS)


def _retry(range_ms: tuple[int, int]) -> bytes:
    return encode_event(retry_ms=_dice.randint(*range_ms))
