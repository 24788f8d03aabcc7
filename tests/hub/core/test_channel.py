"""Channel: when it is ready, and what it keeps for streams that catch up."""

from __future__ import annotations

import pytest
from tests.support.core_grants import subscriber

from flask_sse.hub.core.channel import Channel
from flask_sse.hub.core.resume import LiveBuffer
from flask_sse.hub.core.sequencer import Sequencer
from flask_sse.hub.core.subscriber import Group, Subscriber
from flask_sse.hub.protocol.stream_request import FRAMES
from flask_sse.wire.cursor import Cursor

HERE, NEXT = Cursor("abcdefgh", "1-0"), Cursor("abcdefgh", "2-0")


def channel(name: str = "a") -> Channel[Subscriber]:
    return Channel(name)


def test_a_channel_without_history_is_ready_once_it_is_confirmed() -> None:
    one = channel()
    before = one.is_ready
    one.confirmed = True

    assert (before, one.is_ready) == (False, True)


@pytest.mark.parametrize(("sequencer", "is_ready"), [(Sequencer(), False), (Sequencer(HERE), True)])
def test_a_channel_with_history_is_ready_once_its_position_is_known(
    sequencer: Sequencer, *, is_ready: bool
) -> None:
    one = channel()
    one.confirmed, one.sequencer = True, sequencer

    assert one.is_ready == is_ready
    if is_ready:
        assert one.position == HERE
    else:
        with pytest.raises(RuntimeError):
            _ = one.position


def test_the_live_buffer_lives_as_long_as_a_stream_waits() -> None:
    one, first, second = channel(), subscriber(), subscriber()
    one.waiting = {first, second}
    one.live_buffer = LiveBuffer(HERE)

    one.stop_waiting(first)
    assert one.live_buffer is not None

    one.stop_waiting(second)
    assert one.live_buffer is None


def test_what_was_delivered_moves_the_groups_and_is_kept_for_streams_that_catch_up() -> None:
    one = channel()
    group: Group[Subscriber] = Group((FRAMES, ("a",), ("a",)), {"a": HERE})
    one.groups_of(group).append(group)
    one.live_buffer = LiveBuffer(HERE)

    one.note_delivered(NEXT, None)

    assert one.history_groups == [group]
    assert group.cursors == {"a": NEXT}
    assert one.live_buffer.after(HERE) == [(NEXT, None)]


def test_only_the_channel_of_a_run_has_one() -> None:
    assert channel("a").run is None
    assert channel("run:1").run is not None
