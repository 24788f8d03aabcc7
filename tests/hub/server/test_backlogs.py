"""The largest of all backlogs is known whatever changes, and what each of them costs."""

from __future__ import annotations

import contextlib
import random
import socket

from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.backlogs import Backlogs
from flask_sse.hub.server.stream import PIECE_BYTES, Stream
from flask_sse.settings import StreamRules


def stream_with(stack: contextlib.ExitStack, backlog: int) -> Stream:
    ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
    stack.enter_context(theirs)
    stream = Stream(ours, StreamRequest(("a",), FRAMES, StreamRules()))
    stream.restore_backlog(b"x" * backlog)
    return stream


def test_the_largest_backlog_is_found_whatever_changes() -> None:
    rng = random.Random(13)
    with contextlib.ExitStack() as stack:
        streams = [stream_with(stack, 0) for _ in range(20)]
        backlogs = Backlogs()
        assert backlogs.largest() is None
        for _ in range(500):
            stream = rng.choice(streams)
            stream.backlog, stream.backlog_bytes = None, 0
            stream.restore_backlog(b"x" * rng.choice([0, 1, 7, 1000, 100_000, rng.randrange(100_000)]))
            backlogs.note(stream)
            costs = {each: each.backlog_cost for each in streams}
            assert backlogs.total_bytes == sum(costs.values())
            largest = backlogs.largest()
            assert (largest is None) == (not any(costs.values()))
            assert largest is None or costs[largest] >= max(costs.values()) * 7 / 8
            assert [costs[each] > 0 for each in backlogs.slowest(3)] == [True] * len(backlogs.slowest(3))


def test_a_stream_that_was_closed_counts_no_more() -> None:
    with contextlib.ExitStack() as stack:
        stream, backlogs = stream_with(stack, 1000), Backlogs()
        backlogs.note(stream)
        assert backlogs.total_bytes == 1000 + PIECE_BYTES
        stream.close()
        backlogs.note(stream)
        assert backlogs.total_bytes == 0
        assert backlogs.slowest(5) == []


def test_small_events_wait_in_common_pieces() -> None:
    """13.18: each took several times its bytes where it waited."""
    with contextlib.ExitStack() as stack:
        stream = stream_with(stack, 1)
        sent = [b"data:%d\n\n" % number for number in range(20_000)]
        for data in sent:
            assert stream.send(data)
        assert stream.backlog_cost < 1.1 * len(b"".join(sent))
