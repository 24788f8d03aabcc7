"""Processes that are forked while an application first needs Flask-SSE (15.1)."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.brokers import Broker
from tests.support.forks import by_os
from tests.support.local import local_app
from tests.support.patience import PATIENT_SECONDS

from flask_sse import extension, sse
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

pytestmark = [
    pytest.mark.usefixtures("runtime_directory"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.mark.parametrize("kind", ["auto", "thread", "redis"])
def test_a_fork_during_the_first_use_does_not_stop_the_child(
    kind: str, valkey: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"SSE_BROKER_URL": valkey.url} if kind == "redis" else {"SSE_HUB": kind}
    with local_app(**{"SSE_BROKER_URL": "memory://", **config}) as app, ThreadPoolExecutor(1) as pool:
        making, forked = threading.Event(), threading.Event()

        def slow(settings: Settings) -> object:
            making.set()
            assert forked.wait(PATIENT_SECONDS)
            return open_hub_client(settings)

        def publish() -> int:
            with app.app_context():
                return int(sse.publish("hello"))

        def work_of_child() -> None:
            # Python itself would wait for ever, so the kernel ends it.
            signal.alarm(10)
            publish()

        monkeypatch.setattr(extension, "open_hub_client", slow)
        first = pool.submit(publish)
        assert making.wait(PATIENT_SECONDS)
        monkeypatch.undo()
        wait = by_os(work_of_child)
        forked.set()
        assert wait() == 0
        assert first.result() == 0
