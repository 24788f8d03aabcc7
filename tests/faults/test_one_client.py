"""One client's worst minute: what others notice of it, and what is left of it when its time is over.

Each is a fault that was found once, by its number in the list of faults: 13 to 19. What one client does to a
worker, not to a hub, is told where it belongs: readers that make progress (20), limits under relay (21) and a
worker out of descriptors (22).

In the short form it lasts a second, in the long one a minute.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import pytest
from tests.support.processes import wait_until

from .growth import Snapshot, grown, of_process
from .site import BOTH, STANDSTILL, THREADS, WORST, Site, Worst

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
    site.left_alone(worst, 0.5)  # so that threads and connections that are needed anyhow are there
    hub, worker, keys = of_process(site.hub_pid), of_process(site.worker_pid), site.keys()

    others = site.attacked(worst, seconds)
    assert others.complaints == []
    assert others.newcomers > seconds or worst.attack == STANDSTILL
    assert site.status()["longest_turn_cpu_ms"] <= MAX_TURN_MS

    nothing_is_left(site, keys, {site.hub_pid: hub, site.worker_pid: worker})
    if worst.attack == "refused_reads":
        before = site.scripts_run()
        time.sleep(1)
        assert site.scripts_run() - before < 20, "what no client waits for is asked for again and again"


def nothing_is_left(site: Site, keys: set[bytes], before: Mapping[int, Snapshot]) -> None:
    """Wait until keys, threads, descriptors and memory are back where they were."""

    def left() -> list[str]:
        more = {key: site.redis.pttl(key) for key in site.keys() - keys} if site.redis else {}
        lines = [f"{len(more)} keys, as {list(more.items())[:3]}"] if more else []
        for pid, snapshot in before.items():
            lines += grown(
                snapshot,
                of_process(pid),
                threads=THREADS,
                descriptors=SPARE_CONNECTIONS,
                rss_bytes=SPARE_BYTES,
            )
        return lines

    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not left(), 20)
    assert left() == []
