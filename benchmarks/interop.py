"""What does it cost that old and new processes understand each other?"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from flask_sse import Message
from flask_sse.wire.cursor import Stamp
from flask_sse.wire.envelope import pack, split_stamp
from flask_sse.wire.frame import Frame

from . import systems
from .harness import ROUNDS, Measured, Report, cpu_seconds, event_data, use_client_core
from .systems import System

EVENTS = 2000
PER_SECOND = 1000.0
CALLS = 20_000


def carried() -> bytes:
    """Return what the broker brings: 1.0's JSON, with the stamp that 1.0 does not see."""
    stamp = Stamp("abcdefgh", "1795415239226-1", "1795415239226-0")
    envelope = pack(Message(event_data()))
    return f'{{"data": "{stamp.cursor} {stamp.previous}", '.encode() + envelope[1:]


def microseconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    return timeit.timeit(call, number=CALLS) / CALLS * 1e6


def cost(system: System, events: int) -> float:
    """Return microseconds of the hub's CPU an event."""
    before = cpu_seconds([system.hub])
    system.send(events, PER_SECOND)
    return (cpu_seconds([system.hub]) - before) / events * 1e6


def main() -> None:
    """Compare what the form of 1.0 adds with the least that the hub needs: for an event with one stream."""
    use_client_core()
    report = Report(
        "Interop with 1.0",
        "One form on one channel for both; so its cost is that of turning 1.0's JSON into a frame",
    )
    form, hub = Measured(), Measured()
    data = carried()
    with systems.flask_sse_2() as system, system.clients(1) as client:
        cost(system, EVENTS // 2)
        for _ in range(ROUNDS):
            client.reset()
            hub.values.append(cost(system, EVENTS))
            client.wait_events(EVENTS)
            form.values.append(microseconds(lambda: Frame.of_envelope(split_stamp(data)[1])))
    report.table(
        ["", "CPU µs an event"],
        [("the hub, all included, one stream", hub), ("  of which 1.0's form", form)],
    )
    report.at_most("1.0's form, of the hub's CPU", form.over(hub), 0.1, " x")


if __name__ == "__main__":
    main()
