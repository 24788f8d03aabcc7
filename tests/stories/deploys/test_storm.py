"""Everything is restarted while streams are open: no client notices, no event is missing or doubled."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest
from tests.support.brokers import Broker
from tests.support.numbers import Numbers
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from tests.support.successors import fail_to_succeed, steps_to_succeed, succeed
from tests.support.swarm import Swarm

from .site import Site

PER_SECOND = 50
# What stands still for long has lost its events, and not only its time.
ARRIVAL_SECONDS = PATIENT_SECONDS


def storm(
    broker: Broker, channel: str, streams: int, acts: Callable[[Site], list[Callable[[], None]]]
) -> None:
    """Do all acts in random order while streams get what is published."""
    with (
        Site(broker.url, config={"SSE_HISTORY_SIZE": 10_000}) as site,
        Swarm([site.port], f"/stream?channel={channel}") as swarm,
    ):
        swarm.open(streams)
        swarm.wait_opened()
        wait_until(site.hub_files.is_socket, what="a hub")
        plan = acts(site)
        random.shuffle(plan)
        with Numbers(broker.url, channel, PER_SECOND) as numbers:
            for act in plan:
                act()
                before = len(numbers.sent)
                swarm.wait_events(before + 3, ARRIVAL_SECONDS)
        swarm.wait_events(len(numbers.sent), ARRIVAL_SECONDS)
        order = [getattr(act, "__name__", "upgrade") for act in plan]
        assert not swarm.closed, f"{len(swarm.closed)} streams were ended by one of {order}"
        assert len(numbers.sent) > 5 * len(plan)
        for events in swarm.events:
            assert events == numbers.sent, order


def all_acts(site: Site) -> list[Callable[[], None]]:
    restarts = [site.reload, site.restart, site.lose_power, site.kill_master, site.reload]
    upgrades = [lambda: succeed(site.settings)] * 2
    return [*restarts, *[site.kill_worker] * 3, *upgrades]


def failing_upgrades(site: Site) -> list[Callable[[], None]]:
    def upgrade_that_fails(step: int) -> Callable[[], None]:
        def act() -> None:
            with fail_to_succeed(site.settings, step) as process:
                assert process.wait(PATIENT_SECONDS) == -signal.SIGKILL

        return act

    steps = steps_to_succeed(site.settings)
    assert steps > 5
    acts: list[Callable[[], None]] = [upgrade_that_fails(step) for step in range(1, steps + 1)]
    return [*acts, site.reload, site.kill_worker, lambda: succeed(site.settings)]


def test_restarts_of_everything_are_not_noticed(valkey: Broker, channel: str, runtime_directory: str) -> None:
    storm(valkey, channel, 30, lambda site: [site.reload, site.kill_worker, lambda: succeed(site.settings)])


@pytest.mark.long
@pytest.mark.timeout(300)
def test_five_restarts_three_kills_and_two_upgrades_with_300_streams(
    valkey: Broker, channel: str, runtime_directory: str
) -> None:
    storm(valkey, channel, 300, all_acts)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_upgrades_that_fail_at_each_step_with_300_streams(
    valkey: Broker, channel: str, runtime_directory: str
) -> None:
    storm(valkey, channel, 300, failing_upgrades)
