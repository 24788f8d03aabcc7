"""One client's worst minute: what others notice of it, and what is left of it when its time is over.

Each is a fault that was found once, by its number in the list of faults: 13 to 22. The last three harm a
worker and not a hub, and each needs an application that is served in another way: readers that make progress
(20), limits under relay (21) and a worker out of descriptors (22). There the client itself must get what it
may have; it ends with an error if it does not.

In the short form it lasts a second, in the long one a minute.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import pytest
from tests.support.processes import wait_until

from .growth import Snapshot, grown, of_process
from .site import (
    BOTH,
    BY_DEFAULT,
    MEMORY,
    ONE_AT_A_TIME,
    RELAYED,
    SOON_GIVEN_UP,
    STANDSTILL,
    WORST,
    Served,
    Site,
    Worst,
)

# What Python and the C library keep for the next time.
SPARE_BYTES = 24 * 1024 * 1024
# Connections of pools, which keep what was needed at once.
SPARE_CONNECTIONS = 16
MAX_TURN_MS = 50


@pytest.fixture(scope="module", params=BOTH)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(request.param, stack)


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(200)])])
@pytest.mark.parametrize("worst", WORST, ids=[f"{worst.number}-{worst.attack}" for worst in WORST])
def test_others_notice_nothing_of_one_client_and_nothing_is_left(
    site: Site, worst: Worst, seconds: float
) -> None:
    if ("valkey" if site.redis else "memory") not in worst.brokers:
        pytest.skip("it makes no difference here")
    nothing_is_noticed_and_nothing_left(site, worst, seconds)
    if worst.attack == "refused_reads":
        before = site.scripts_run()
        time.sleep(1)
        assert site.scripts_run() - before < 20, "what no client waits for is asked for again and again"


LONG = [pytest.mark.long, pytest.mark.timeout(200)]


@pytest.mark.parametrize(
    ("number", "attack", "served", "seconds"),
    [
        (20, "quick_steady_reader", SOON_GIVEN_UP, 1),
        (21, "relayed_reloads", RELAYED, 1),
        (22, "without_descriptors", ONE_AT_A_TIME, 1),
        pytest.param(20, "steady_reader", BY_DEFAULT, 60, marks=LONG),
        pytest.param(21, "relayed_reloads", RELAYED, 60, marks=LONG),
        pytest.param(22, "without_descriptors", ONE_AT_A_TIME, 60, marks=LONG),
    ],
)
def test_others_notice_nothing_of_one_client_of_their_worker_and_nothing_is_left(
    number: int, attack: str, served: Served, seconds: float
) -> None:
    with contextlib.ExitStack() as stack:
        site = Site("memory", stack, served)
        nothing_is_noticed_and_nothing_left(site, Worst(number, attack, MEMORY), seconds)
        assert site.status()["rejected"] == 0


def nothing_is_noticed_and_nothing_left(site: Site, worst: Worst, seconds: float) -> None:
    """Let one client do its worst for so long, beside others."""
    site.left_alone(worst, 0.5)  # so that threads and connections that are needed anyhow are there
    hub, worker, keys = of_process(site.hub_pid), of_process(site.worker_pid), site.keys()

    others = site.attacked(worst, seconds)
    assert others.complaints == []
    assert others.newcomers > seconds or worst.attack == STANDSTILL
    assert site.status()["longest_turn_cpu_ms"] <= MAX_TURN_MS

    if site.served is RELAYED:
        # A web server notices that a page has left when it writes to it, here at the second event.
        for text in ("anybody", "there?"):
            site.publisher.publish(text, channel="pages")
    nothing_is_left(site, keys, {site.hub_pid: hub, site.worker_pid: worker})


def nothing_is_left(site: Site, keys: set[bytes], before: Mapping[int, Snapshot]) -> None:
    """Wait until keys, threads, descriptors and memory are back where they were."""

    def left() -> list[str]:
        more = {key: site.redis.pttl(key) for key in site.keys() - keys} if site.redis else {}
        lines = [f"{len(more)} keys, as {list(more.items())[:3]}"] if more else []
        for pid, snapshot in before.items():
            lines += grown(
                snapshot,
                of_process(pid),
                threads=site.served.threads,
                descriptors=SPARE_CONNECTIONS,
                rss_bytes=SPARE_BYTES,
            )
        return lines

    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not left(), 20)
    assert left() == []
