"""What grows is seen."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.stories.faults import growth
from tests.stories.faults.growth import grown, of_broker, of_process
from tests.support.brokers import start_valkey

# A test of the test helpers.
pytestmark = pytest.mark.long


def test_threads_descriptors_and_memory_of_a_process(tmp_path: Path) -> None:
    before = of_process(os.getpid())
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    held = b"x" * 50_000_000
    with (tmp_path / "file").open("w"):
        after = of_process(os.getpid())
    end.set()
    thread.join()
    assert held
    assert after["threads"] == before["threads"] + 1
    assert after["descriptors"] == before["descriptors"] + 1
    assert [line.split()[0] for line in grown(before, after)] == ["threads", "descriptors", "rss_bytes"]
    assert grown(before, after, threads=1, descriptors=1, rss_bytes=70_000_000) == []
    assert grown(after, before) == []


def test_keys_of_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_valkey() as broker:
        client = broker.client()
        before = of_broker(client)
        client.set("ends", 1, ex=100)
        client.set("stays", 1)
        after = of_broker(client)
        assert after == {"keys": 2, "keys_forever": 1}
        assert grown(before, after, keys=2) == ["keys_forever grew from 0 to 1, and 0 more were allowed"]
        monkeypatch.setattr(growth, "MAX_KEYS", 1)
        with pytest.raises(ValueError, match="more than 1 keys"):
            of_broker(client)


def test_an_allowance_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="thread'"):
        grown({"threads": 1}, {"threads": 1}, thread=1)
