"""Whether clients saw what was published: in its order, once, and all of it or told so. No I/O, no clock.

A client stands somewhere in each of its channels: at the event that it saw last, or where its stream began or
was reset. From there it may see the next publication, or a reset. The ids that it gets promise as much: what
stands before them is not sent again, so it must have been seen.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask_sse.wire.decode import Event

from .records import (
    STREAM_OPEN,
    STREAM_RESET,
    ClientLog,
    Cursor,
    Opened,
    Publication,
    read_cursor,
    read_cursors,
)
from .report import Behind, Disorder, Duplicate, Loss, Report, Unknown, Violation


def check(
    publications: Iterable[Publication],
    clients: Sequence[ClientLog],
    tops: Mapping[str, str] | None = None,
) -> Report:
    """Compare what clients saw with what was published.

    Args:
        publications: Of all publishers together. The order does not matter, but for the last one of each
            channel: its epoch counts as the present one.
        clients: What each saw until all was quiet.
        tops: The cursor behind the last publication of each channel, as the broker has it; ``None`` to go by
            the publications.
    """
    log, report = _Log(publications, clients), Report()
    for client in clients:
        follower = _Follower(client, log, report)
        follower.follow()
        if client.connected:
            follower.expect_tops(tops or {})
    return report


class _Log:
    """All publications: those acknowledged, and those that some client proves to have happened."""

    def __init__(self, publications: Iterable[Publication], clients: Iterable[ClientLog]) -> None:
        self.payloads: dict[tuple[str, Cursor], str] = {}
        self._needed: defaultdict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
        self._present: dict[str, str] = {}
        uncertain = {}
        for publication in publications:
            if cursor := read_cursor(publication.cursor):
                self._add(publication, cursor)
                self._present[publication.channel] = cursor.epoch
            else:
                uncertain[publication.channel, publication.payload] = publication
        for client in clients if uncertain else ():
            for event in client.seen:
                if isinstance(event, Event):
                    channel = channel_of(event)
                    cursor = read_cursors(event.last_event_id, client.channels).get(channel)
                    if cursor and (found := uncertain.get((channel, event.data))):
                        self._add(found, cursor)
        self._sorted = {key: sorted(numbers) for key, numbers in self._needed.items()}

    def _add(self, publication: Publication, cursor: Cursor) -> None:
        self.payloads[publication.channel, cursor] = publication.payload
        if not publication.lost:
            self._needed[publication.channel, cursor.epoch].add(cursor.number)

    def between(self, channel: str, after: Cursor, to: Cursor | None) -> list[Cursor]:
        """Return what a client has to see behind ``after``, up to ``to`` or to the end of the epoch."""
        numbers = self._sorted.get((channel, after.epoch), [])
        end = bisect_right(numbers, to.number) if to else len(numbers)
        return [Cursor(after.epoch, number) for number in numbers[bisect_right(numbers, after.number) : end]]

    def top(self, channel: str) -> Cursor | None:
        """Return the last publication of the present epoch."""
        epoch = self._present.get(channel, "")
        numbers = self._sorted.get((channel, epoch))
        return Cursor(epoch, numbers[-1]) if numbers else None

    def is_past(self, channel: str, epoch: str) -> bool:
        """Tell whether an epoch has been followed by another; one without publications is the last of all."""
        return (channel, epoch) in self._sorted and epoch != self._present.get(channel)


class _Follower:
    """Goes along with one client."""

    def __init__(self, client: ClientLog, log: _Log, report: Report) -> None:
        self._client = client
        self._log = log
        self._report = report
        self._positions: dict[str, Cursor] = {}
        self._seen: set[tuple[str, object]] = set()
        self._broken: set[tuple[str, Cursor]] = set()

    def follow(self) -> None:
        for record in self._client.seen:
            if isinstance(record, Opened):
                self._report.reconnects += record.connection > 1
                if not self._positions:
                    self._positions = read_cursors(record.last_event_id, self._client.channels)
            elif record.type == STREAM_OPEN:
                self._start(record)
            elif record.type == STREAM_RESET:
                self._report.resets += 1
                self._reset(record)
            else:
                self._report.events += 1
                self._event(record)

    def expect_tops(self, tops: Mapping[str, str]) -> None:
        for channel in self._client.channels:
            position = self._positions.get(channel)
            stated = read_cursor(tops.get(channel))
            top = stated or self._log.top(channel)
            missed = self._log.between(channel, position, None) if position else []
            if position is None:
                reached = top is None
            elif stated:
                reached = position == stated
            else:
                reached = not self._log.is_past(channel, position.epoch)
            if missed or not reached:
                self._complain(Behind, channel, missed or [top], f"stands at {position}, the end is {top}")

    def _start(self, event: Event) -> None:
        ids = read_cursors(event.last_event_id, self._client.channels)
        if not ids:
            self._complain(Unknown, "", [event.last_event_id], "no position to start at")
        self._keep(ids)
        self._positions |= ids

    def _reset(self, event: Event) -> None:
        ids = read_cursors(event.last_event_id, self._client.channels)
        channel, to = channel_of(event), read_cursor(_fields(event.data).get("to"))
        if to is None or ids.pop(channel, None) != to:
            self._complain(Unknown, channel, [event.last_event_id], f"no position of a reset: {event.data}")
            return
        self._keep(ids)
        self._positions[channel] = to

    def _event(self, event: Event) -> None:
        ids = read_cursors(event.last_event_id, self._client.channels)
        channel = channel_of(event)
        cursor = ids.pop(channel, None)
        if cursor is None:
            self._complain(
                Unknown, channel, [event.last_event_id], f"no position in the channel: {event.data}"
            )
            return
        self._keep(ids)
        names: set[tuple[str, object]] = {(channel, cursor), (channel, event.data)}
        again = bool(self._seen & names)
        self._seen |= names
        if again:
            self._complain(Duplicate, channel, [cursor], "came before")
        elif self._log.payloads.get((channel, cursor)) != event.data:
            self._complain(Unknown, channel, [cursor], f"not what was published there: {event.data}")
        self._move(channel, cursor, again=again)

    def _move(self, channel: str, cursor: Cursor, *, again: bool) -> None:
        """Go to the position of an event."""
        position = self._positions.get(channel)
        if position is None:
            self._positions[channel] = cursor
        elif position.epoch == cursor.epoch and position.number < cursor.number:
            self._positions[channel] = cursor
            left_out = [each for each in self._log.between(channel, position, cursor) if each != cursor]
            if left_out:
                self._complain(Loss, channel, left_out, f"left out before {cursor}")
        elif position.epoch != cursor.epoch and not again:
            self._positions[channel] = cursor
            self._complain(Loss, channel, [cursor], f"of another epoch than {position}, without a reset")
        elif not again:
            self._complain(Disorder, channel, [cursor], f"came behind {position}")

    def _keep(self, ids: Mapping[str, Cursor]) -> None:
        """Check what an id says of the channels that its event is not about."""
        for channel, cursor in ids.items():
            position = self._positions.get(channel, cursor)
            if position.epoch != cursor.epoch:
                self._break(
                    Loss, channel, [cursor], f"an id names a new epoch before the reset from {position}"
                )
            elif unseen := self._log.between(channel, position, cursor):
                self._break(Loss, channel, unseen, f"an id passes over what comes behind {position}")
            elif seen := self._log.between(channel, cursor, position):
                self._break(Duplicate, channel, seen, f"an id goes back from {position}")

    def _break(self, kind: type[Violation], channel: str, cursors: Sequence[Cursor], text: str) -> None:
        """ReportDropped once: many ids say the same until the channel's own event comes."""
        if (channel, cursors[-1]) not in self._broken:
            self._broken.add((channel, cursors[-1]))
            self._complain(kind, channel, cursors, text)

    def _complain(
        self, kind: type[Violation], channel: str, ids: Iterable[Cursor | str | None], text: str
    ) -> None:
        self._report.violations.append(kind(self._client.name, channel, tuple(map(str, ids)), text))


def channel_of(event: Event) -> str:
    """Return the channel that an event of an application names in its data; empty if it names none."""
    return str(_fields(event.data).get("channel", ""))


def _fields(data: str) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
