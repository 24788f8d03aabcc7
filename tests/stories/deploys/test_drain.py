"""A hub that is told to end: its clients come back one after the other."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.support.bare_application import hubs_in
from tests.support.brokers import Broker
from tests.support.processes import running, wait_until

from .comebacks import Comebacks, most_per_second
from .site import Site


@pytest.mark.long
@pytest.mark.parametrize(("clients", "window_seconds"), [(200, 2), (5000, 10)])
@pytest.mark.timeout(180)
def test_clients_of_a_hub_that_drains_come_back_one_after_the_other(
    clients: int, window_seconds: int, valkey: Broker, channel: str, runtime_directory: str
) -> None:
    config = {"SSE_DRAIN_SECONDS": window_seconds}
    with (
        Site(valkey.url, config=config) as site,
        Comebacks(site.port, f"/stream?channel={channel}") as streams,
    ):
        streams.add(clients)
        (hub,) = hubs_in(runtime_directory)
        began = time.monotonic()
        os.kill(hub, signal.SIGTERM)
        streams.go_on_until(lambda: len(streams.attempts) == clients == streams.open, 90)
        rate = clients / window_seconds
        ended, back = most_per_second(streams.ended_at), most_per_second(streams.attempts)
        print(f"{clients} clients in {window_seconds} s: at most {ended} ended and {back} came back a second")
        assert back < 1.5 * rate
        assert max(streams.ended_at) - began > 0.8 * window_seconds
        assert len(streams.ended_at) == clients, "nobody is ended twice"
        wait_until(lambda: not running(hub), what="the end of the hub")
        (successor,) = hubs_in(runtime_directory)
        assert successor != hub
