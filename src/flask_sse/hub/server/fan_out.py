"""Fan-out: writes what became ready to the streams of its group, some of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..core.core import Core
from .hub_loop import Turns
from .stream import Stream

# So many writes take some milliseconds.
STREAMS_AT_ONCE = 250


class FanOut:
    """Writes what the core has ready; used on the hub's loop only.

    Args:
        core: Has what is ready.
        turns: Limits how long a call may take.
        send: Writes to a stream whose socket did not take all at once.
        give_up: Called with streams that may have missed something, and with the reason.
    """

    def __init__(
        self,
        core: Core[Stream],
        turns: Turns,
        send: Callable[[Stream, bytes], None],
        give_up: Callable[[Collection[Stream], Exception], None],
    ) -> None:
        self._core = core
        self._turns = turns
        self._send = send
        self._give_up = give_up
        # What is being written, and the streams that do not have it yet.
        self._data = b""
        self._streams: set[Stream] = set()

    @property
    def has_pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._streams) or self._core.has_pending

    def write(self, now: float) -> None:
        """Write what is ready, as far as this turn of the loop has time for it."""
        while self._write_some(now) and self._turns.has_time:
            pass

    def write_all(self, now: float) -> None:
        """Write what is ready, however long it takes."""
        while self._write_some(now):
            pass

    def write_first_to(self, stream: Stream) -> None:
        """Write to a stream what the others of its group may have already, before anything else is."""
        if stream in self._streams:
            self._streams.discard(stream)
            self._send(stream, self._data)

    def _write_some(self, now: float) -> bool:
        if not self._streams:
            ready = next(self._core.flush(now), None)
            if ready is None:
                return False
            self._data, subscribers = ready
            if len(subscribers) <= STREAMS_AT_ONCE:
                self._write_to(subscribers)
                return True
            # A copy, because clients leave the group and join it between two turns of the loop.
            self._streams = set(subscribers)
        some = [self._streams.pop() for _ in range(min(STREAMS_AT_ONCE, len(self._streams)))]
        self._write_to(some)
        return True

    def _write_to(self, streams: Collection[Stream]) -> None:
        try:
            for stream, rest in Stream.send_to_all(streams, self._data):
                self._send(stream, rest)
        except Exception as error:  # noqa: BLE001 - those that may have missed something are ended
            self._give_up(streams, error)
