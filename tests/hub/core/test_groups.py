"""Groups: who is in one, and what is written to it at the end of a turn."""

from __future__ import annotations

from tests.support.core_grants import NOW, subscriber

from flask_sse.hub.core.channel import Channel
from flask_sse.hub.core.groups import Groups
from flask_sse.hub.core.subscriber import Group, Subscriber


def channels(*names: str) -> list[Channel[Subscriber]]:
    return [Channel(name) for name in names]


def joined(
    groups: Groups[Subscriber], where: list[Channel[Subscriber]]
) -> tuple[Subscriber, Group[Subscriber]]:
    stream = subscriber()
    stream.channels = tuple(channel.name for channel in where)
    groups.join(stream, where)
    assert stream.group is not None
    return stream, stream.group


def test_streams_with_the_same_channels_in_any_order_share_a_group_and_its_names() -> None:
    groups: Groups[Subscriber] = Groups()
    a, b = channels("a", "b")
    first, group = joined(groups, [a, b])
    second, same = joined(groups, [b, a])

    assert same is group
    assert first.channels is second.channels
    assert a.live_groups == b.live_groups == [group]


def test_a_group_ends_with_its_last_stream() -> None:
    groups: Groups[Subscriber] = Groups()
    (a,) = channels("a")
    first, _ = joined(groups, [a])
    second, _ = joined(groups, [a])
    groups.leave(first)
    assert a.live_groups

    groups.leave(second)

    assert not a.live_groups
    assert not any(vars(groups).values())


def test_what_was_queued_before_a_stream_joined_is_not_for_it() -> None:
    groups: Groups[Subscriber] = Groups()
    where = channels("a")
    early, group = joined(groups, where)
    groups.queue(group, b"1")
    late, _ = joined(groups, where)
    groups.queue(group, b"2")
    groups.queue(group, b"3")

    written = [(data, set(streams)) for data, streams in groups.flush(NOW)]

    assert written == [(b"1", {early}), (b"23", {early, late})]
    assert not groups.has_pending
    assert group.written_at == NOW


def test_what_was_not_taken_of_a_flush_is_there_for_the_next_one() -> None:
    groups: Groups[Subscriber] = Groups()
    for name in "abc":
        _, group = joined(groups, channels(name))
        groups.queue(group, name.encode())

    assert next(groups.flush(NOW))[0] == b"a"
    assert [data for data, _ in groups.flush(NOW)] == [b"b", b"c"]
