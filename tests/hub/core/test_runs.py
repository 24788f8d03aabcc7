"""Runs: what events, silence and pages say of the state of one."""

from __future__ import annotations

import pytest

from flask_sse.brokers.base import Entry
from flask_sse.hub.core.runs import (
    AliveFrame,
    BeginFrame,
    EndFrame,
    Run,
    RunAction,
    State,
    frame_of,
    run_frames_in,
)
from flask_sse.wire.envelope import pack
from flask_sse.wire.frame import Frame
from flask_sse.wire.message import Message
from flask_sse.wire.run import LOST_SECONDS, ended

NAME = "run:1"
BEGIN = BeginFrame.of_message(Message("x"))
ALIVE = AliveFrame.of_message(Message("x"))
END = EndFrame(NAME, "finished")
PRODUCED = Frame.of_message(Message("x"))


@pytest.mark.parametrize(
    ("frames", "state"),
    [
        ([PRODUCED], State.UNKNOWN),
        ([BEGIN], State.WORKING),
        ([ALIVE], State.WORKING),
        ([BEGIN, END], State.OVER),
        ([BEGIN, END, ALIVE], State.OVER),
        ([BEGIN, END, BEGIN], State.WORKING),
    ],
)
def test_events_tell_the_state(frames: list[Frame], state: State) -> None:
    run = Run()
    for frame in frames:
        run.note_event(frame)

    assert run.state is state


def test_a_run_that_is_silent_for_too_long_is_lost_and_any_event_makes_it_work_again() -> None:
    run = Run()
    run.note_event(BEGIN)
    assert run.check(0.0, is_receiving=True) is RunAction.NOTHING
    assert run.check(LOST_SECONDS - 1, is_receiving=True) is RunAction.NOTHING
    assert run.check(LOST_SECONDS, is_receiving=True) is RunAction.REPORT_LOST

    run.note_event(PRODUCED)

    assert run.state is State.WORKING


def test_silence_counts_only_while_events_would_arrive() -> None:
    run = Run()
    run.note_event(BEGIN)
    run.check(0.0, is_receiving=True)
    run.exclude_pause(100.0)
    assert run.check(LOST_SECONDS, is_receiving=True) is RunAction.NOTHING
    assert run.check(1000.0, is_receiving=False) is RunAction.NOTHING
    assert run.check(1001.0, is_receiving=True) is RunAction.NOTHING


def test_streams_end_one_check_after_the_end_was_queued() -> None:
    run = Run()
    run.note_event(END)

    assert run.check(0.0, is_receiving=True) is RunAction.CHECK_AGAIN
    assert run.check(0.1, is_receiving=True) is RunAction.END_STREAMS


def test_a_history_without_a_beginning_makes_the_channel_no_run() -> None:
    run = Run()
    run.check(0.0, is_receiving=True)
    assert run.check(LOST_SECONDS, is_receiving=True) is RunAction.READ_HISTORY
    run.add_page([])
    run.finish_read(is_whole=True)

    assert run.state is State.NO_RUN
    assert run.next_due() is None


def test_an_event_that_arrives_while_the_history_is_read_is_newer_than_its_pages() -> None:
    run = Run()
    run.add_page([BEGIN])
    run.note_event(END)
    run.finish_read(is_whole=True)

    assert run.state is State.OVER


def test_only_frames_of_the_state_are_found_in_a_page() -> None:
    envelopes = [pack(Message("x")), b'no envelope with "run-', pack(ended("finished"))]
    page = [Entry(f"{number}-0", "", envelope) for number, envelope in enumerate(envelopes)]

    (found,) = run_frames_in(NAME, page)

    assert isinstance(found, EndFrame)
    assert isinstance(frame_of(NAME, envelopes[2]), EndFrame)
