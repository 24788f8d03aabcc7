"""Actions of the core are carried out in their order, some of them per turn, and all in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flask_sse.hub.core.actions import End, Write
from flask_sse.hub.server.revocation_journal import RevocationJournal

from .conftest import RunningHub

RunHub = Callable[..., None]


def test_writes_keep_their_order_and_an_end_comes_last(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        stream, client = await hub.open("a")
        hub.server._core.outbox.extend(
            [Write(stream, b":one\n\n"), Write(stream, b":two\n\n"), End(stream, b":bye\n\n")]
        )
        hub.server._actions.finish()
        received = b""
        while data := await hub.read(client):
            received += data
        assert received == b":one\n\n:two\n\n:bye\n\n"
        assert not hub.server.streams

    run_hub(story)


def test_many_ends_take_turns_and_none_of_those_streams_gets_an_event(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        streams = [(await hub.open("a"))[0] for _ in range(20)]
        hub.server._core.outbox.extend(End(stream, b":bye\n\n") for stream in streams)
        hub.server._actions.carry_out()
        assert hub.publish("a") == 0
        for client in hub.clients:
            received = b""
            while data := await hub.read(client):
                received += data
            assert received.endswith(b":bye\n\n")

    run_hub(story)


def test_a_file_of_revocations_that_cannot_be_used_is_logged_and_no_more(
    run_hub: RunHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(hub: RunningHub) -> None:
        file = tmp_path / "hub.revocations"
        file.mkdir()
        hub.server.keep_revocations(RevocationJournal(file))
        await hub.open("a")
        assert hub.publish("a") == 1

    run_hub(story)
    assert "revocations do not outlive this hub, its file cannot be used: " in caplog.text
