"""Backlogs: the unsent bytes of all slow clients of a hub, and whose are the most. No I/O, no clock."""

from __future__ import annotations

from itertools import islice

from .stream import Stream

# How many backlogs of about the same size are compared.
_COMPARED = 50


class Backlogs:
    """The streams that have a backlog, by its size.

    Sizes are classes of an eighth of a power of two, so that noting a change costs the same however many
    there are, and so does finding the largest.

    Attributes:
        total_bytes: The unsent bytes of all streams, with the memory that keeping them takes.
    """

    def __init__(self) -> None:
        self.total_bytes = 0
        self._peak_bytes = 0
        self._classes: dict[int, dict[Stream, int]] = {}
        self._class_of: dict[Stream, int] = {}

    def note(self, stream: Stream) -> None:
        """Note that the backlog of a stream may have changed."""
        cost = stream.backlog_cost
        before = self._class_of.get(stream)
        if before is not None:
            self.total_bytes -= self._classes[before][stream]
        elif not cost:
            return
        now = _class_of(cost)
        if before is not None and now != before:
            del self._classes[before][stream]
            if not self._classes[before]:
                del self._classes[before]
        if not cost:
            del self._class_of[stream]
            return
        self._classes.setdefault(now, {})[stream] = cost
        self._class_of[stream] = now
        self.total_bytes += cost
        self._peak_bytes = max(self._peak_bytes, self.total_bytes)

    def have_fallen(self, by_bytes: int) -> bool:
        """Tell whether the total is so much below its peak since this was last true."""
        if self._peak_bytes - self.total_bytes < by_bytes:
            return False
        self._peak_bytes = self.total_bytes
        return True

    def largest(self) -> Stream | None:
        """Return the stream with the largest backlog, or one that is as large within an eighth."""
        return next(iter(self.slowest(1)), None)

    def slowest(self, most: int) -> list[Stream]:
        """Return the streams with the largest backlogs, the largest first, in so many classes as it takes."""
        found: list[Stream] = []
        for number in sorted(self._classes, reverse=True):
            streams = self._classes[number]
            found += sorted(islice(streams, _COMPARED), key=streams.__getitem__, reverse=True)
            if len(found) >= most:
                break
        return found[:most]


def _class_of(cost: int) -> int:
    exponent = max(cost.bit_length() - 4, 0)
    return exponent * 8 + (cost >> exponent)
