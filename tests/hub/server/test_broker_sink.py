"""What the broker delivers reaches the streams; a failure ends those that may have missed something."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_sse.channels import CONTROL_CHANNEL
from flask_sse.hub.core.core import Core

from .conftest import RunningHub

RunHub = Callable[..., None]


def test_an_event_is_written_at_the_end_of_its_turn_with_all_others(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        _, client = await hub.open("a")
        assert [hub.publish("a", b'{"data": "%d"}' % number) for number in range(3)] == [1, 1, 1]
        assert (await hub.read(client)).endswith(b"data:0\n\ndata:1\n\ndata:2\n\n")

    run_hub(story)


def test_streams_of_a_channel_that_fails_end_and_others_do_not(
    run_hub: RunHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError

    async def story(hub: RunningHub) -> None:
        _, failing = await hub.open("a")
        await hub.open("b")
        with monkeypatch.context() as patched:
            patched.setattr(Core, "deliver", fail)
            assert hub.publish("a") == 0
        assert await hub.read(failing) == b""
        assert hub.publish("b") == 1

    run_hub(story)
    assert "crash report: ZeroDivisionError" in caplog.text
    assert "doing: 'deliver' 'a'" in caplog.text


def test_a_broker_that_is_away_or_refuses_is_logged_and_counted(
    run_hub: RunHub, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(hub: RunningHub) -> None:
        sink = hub.server._sink
        for _ in range(2):
            sink.broker_lost("no route")
            sink.refused("a", "no right")
            sink.refused(CONTROL_CHANNEL, "no right")
        assert hub.server.status()["broker_away"]

    run_hub(story)
    assert caplog.messages[:3] == [
        "the broker cannot be reached: no route",
        "the broker refuses channel 'a': no right",
        "sse.disconnect() does not reach this hub, the broker refuses it: no right",
    ]
    assert len(caplog.messages) == 3
