"""A hub that stood still reads what waited before it judges what is due (15.8)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication, log_of
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, free_port, running, suspended, wait_until

from flask_sse.hub.client.runtime_directory import hub_path

SERVER = Path(__file__).parent / "impatient_server.py"
PRODUCER = Path(__file__).parents[2] / "producing" / "producer.py"
# A hub must be stopped within it, once it has begun.
LINGER_SECONDS = 4.0


def test_a_hub_that_was_stopped_does_not_end_before_it_sees_the_application_that_came(channel: str) -> None:
    """Without applications it ends after a while, and one that came meanwhile is no less one."""
    url = f"memory://{channel}"
    with BareApplication(url, hub_linger_seconds=LINGER_SECONDS) as first:
        pid = first.pid
        path = hub_path(first.settings)
    wait_until(
        lambda: f"the hub ends in {LINGER_SECONDS:g} s" in log_of(path),
        what="the hub to miss its application",
    )
    with BareApplication(url, hub_linger_seconds=LINGER_SECONDS) as second:
        with suspended(pid):
            answers: list[int] = []
            asking = threading.Thread(target=lambda: answers.append(second.pid))
            asking.start()
            time.sleep(LINGER_SECONDS + 0.6)
        asking.join(PATIENT_SECONDS)
        assert answers == [pid]
        with pytest.raises(TimeoutError):
            wait_until(lambda: not running(pid), seconds=0.5)
        assert second.pid == pid


@pytest.mark.parametrize("with_its_producer", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_run_is_not_lost_while_its_hub_stands_still(
    valkey: Broker, channel: str, with_its_producer: bool
) -> None:
    name, port = f"run:{channel}", free_port()
    with (
        Process([sys.executable, SERVER, valkey.url, str(port)], ready=port) as server,
        Process([sys.executable, PRODUCER, valkey.url, name, "0.5"]) as producer,
        StreamClient(port, f"/stream?channel={name}") as stream,
    ):
        assert [event.type for event in stream.events(2)] == ["run-begin", "message"]
        assert stream.next_event().type == "run-alive"
        time.sleep(0.6)  # until the hub has begun to count the silence
        with contextlib.ExitStack() as stopped:
            stopped.enter_context(suspended(server.pid))
            if with_its_producer:
                stopped.enter_context(suspended(producer.pid))
            time.sleep(2.5)
        # It continues with what waited, and the producer with what it has to say.
        assert stream.next_event().type == "run-alive"
        assert b"lost" not in stream.raw
        os.kill(producer.pid, signal.SIGKILL)
        stream.wait_for_bytes(b'"reason": "lost"')
        assert stream.wait_closed() == "eof"
