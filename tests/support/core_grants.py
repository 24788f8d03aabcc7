"""The core with streams of subjects and addresses, for tests, and what a server does with its actions."""

from __future__ import annotations

import random
from typing import Any

from flask_sse.brokers.base import Entry, Page
from flask_sse.hub.core.actions import (
    CheckAll,
    Continue,
    End,
    Read,
    Revoke,
    Subscribe,
    Write,
)
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.revocations import Revocations
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.protocol.grant import ANONYMOUS, Grant
from flask_sse.hub.protocol.revocation import ReceivedRevocation, Revocation
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST, Stamp

CONTROL = "flask-sse:control"
ANN = Grant("ann", "192.0.2.1", issued_at=100)
NOW = 1000.0


def subscriber(
    grant: Grant = ANONYMOUS,
    *channels: str,
    mode: str = FRAMES,
    head: bytes = b"HTTP/1.1 200 OK",
    **rules: int,
) -> Subscriber:
    """Return a stream that has just come, by takeover: the hub writes its head."""
    return Subscriber(StreamRequest(channels or ("a",), mode, StreamRules(**rules), head=head, grant=grant))  # type: ignore[arg-type]


def relayed(grant: Grant = ANN, most: int = 2) -> Subscriber:
    """Return a stream that has just come, by relay, and of which an address may have so many."""
    return subscriber(grant, head=b"", max_streams_per_address=most)


def written(core: Core[Subscriber]) -> list[tuple[Subscriber, bytes]]:
    """Return what was written since, but for that to streams that end; carry out the rest."""
    writes = [(each.subscriber, each.data) for each in core.outbox if isinstance(each, Write)]
    settle(core)
    return writes


def core_with(*subscribers: Subscriber) -> Core[Subscriber]:
    """Return a core whose channels are confirmed, with streams in it."""
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    core.channels.open_control_channel()
    for each in subscribers:
        assert core.refusal(each) is None
        core.add(each, NOW)
    settle(core)
    return core


def settle(core: Core[Subscriber], *kept: Revocation, at: float = 200.0) -> list[End]:
    """Do what a server and a broker do; return whose streams ended.

    Args:
        core: Of the hub.
        kept: What the history of the broker has.
        at: The clock of the hub's machine.
    """
    ended = []
    while core.outbox:
        order = core.outbox.popleft()
        if isinstance(order, Subscribe):
            core.subscribed(order.channel)
        elif isinstance(order, Read):
            assert (order.channel, order.since) == (CONTROL, EARLIEST)
            core.page(order.number, page_of("abcdefgh", *kept), NOW)
        elif isinstance(order, CheckAll):
            core.check_all()
        elif isinstance(order, Revoke):
            core.revoke(ReceivedRevocation(order.revocation, at, order.is_live))
        elif isinstance(order, Continue):
            core.continue_stream(order.subscriber, NOW)
        elif isinstance(order, End):
            ended.append(order)
            core.remove(order.subscriber, NOW)
    return ended


def page_of(epoch: str, *revocations: Revocation) -> Page:
    """Return all that the history of the control channel has."""
    ids = [f"{number}-0" for number in range(len(revocations) + 1)]
    entries = [
        Entry(event_id, previous, each.envelope())
        for previous, event_id, each in zip(ids, ids[1:], revocations, strict=False)
    ]
    return Page(epoch, ids[-1], "0-0", entries, complete=True)


def revocation(**fields: Any) -> Revocation:
    return Revocation(**{"subject": None, "channel": None, "reason": "x", "at": 200.0, **fields})


def order(core: Core[Subscriber], **fields: Any) -> list[Any]:
    """Bring an order; return the streams that it ended."""
    core.deliver(CONTROL, Stamp("abcdefgh", "1-0", "0-0"), revocation(**fields).envelope())
    return [end.subscriber for end in settle(core)]


def remember(
    revocations: Revocations[Subscriber], received_at: float = 200.0, *, is_live: bool = True, **fields: Any
) -> None:
    revocations.add(ReceivedRevocation(revocation(**fields), received_at, is_live))


def answer_to(core: Core[Subscriber], *kept: Revocation) -> str | None:
    """Answer the read that was asked for, with an epoch of its own; return since when it was."""
    reads = [each for each in core.outbox if isinstance(each, Read)]
    for read in reads:
        core.outbox.remove(read)
        page = page_of("zzzzzzzz", *kept)
        core.page(read.number, page if read.since == EARLIEST else page._replace(since=None), NOW)
        return read.since
    return None
