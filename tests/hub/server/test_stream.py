"""One client's socket: real ones, with small buffers so that they fill soon."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.stream import Stream
from flask_sse.settings import StreamRules
from flask_sse.wire.keyed_chunks import KeyedChunks

SMALL_BUFFER_BYTES = 4096
ANSWER_SECONDS = 5.0


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection that holds little."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    far.setblocking(False)
    return near, far


def stream_on(sock: socket.socket, max_backlog_bytes: int = 1024 * 1024) -> Stream:
    rules = StreamRules(max_backlog_bytes=max_backlog_bytes)
    return Stream(sock, StreamRequest(("a",), FRAMES, rules))


@pytest.fixture
def ends() -> Iterator[tuple[Stream, socket.socket]]:
    """A stream, and the socket of its client."""
    near, far = pair()
    stream = stream_on(near)
    with far, near:
        yield stream, far


def read_now(far: socket.socket) -> bytes:
    """Return what has arrived, all of it."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := far.recv(65536):
            data += piece
    return data


def read_all(stream: Stream, far: socket.socket) -> bytes:
    """Read as a client does, while the hub writes what waits."""
    data = read_now(far)
    while stream.has_backlog:
        assert stream.send_backlog()
        data += read_now(far)
    return data


def fill(stream: Stream) -> bytes:
    """Send until the socket takes no more; return what was sent."""
    data = b""
    while not stream.has_backlog:
        stream.send(b"f" * 1000)
        data += b"f" * 1000
    return data


# -- sending ---------------------------------------------------------------------------------------


def test_what_the_socket_takes_is_there_at_once(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends

    assert stream.send(b"data:x\n\n")
    assert not stream.has_backlog
    assert read_now(far) == b"data:x\n\n"


def test_sending_never_waits(ends: tuple[Stream, socket.socket]) -> None:
    stream, _ = ends

    assert stream.sock.gettimeout() == 0
    assert stream.send(b"x" * 500_000)
    assert stream.has_backlog


def test_what_the_socket_takes_in_part_keeps_its_order(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    large = b"".join(b"%07d\n" % number for number in range(20_000))
    first = b"first"
    assert stream.send(first)
    assert stream.send(large)
    assert stream.has_backlog
    assert stream.send(b"last")

    assert read_all(stream, far) == first + large + b"last"
    assert not stream.has_backlog


def test_a_small_frame_does_not_overtake_what_waits(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    sent = fill(stream)
    # Now there is room, and the backlog still stands in front.
    received = read_now(far)
    assert stream.send(b"late")

    assert read_now(far) == b""
    assert received + read_all(stream, far) == sent + b"late"


def test_after_the_backlog_frames_go_directly_again(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    fill(stream)
    read_all(stream, far)

    assert stream.send(b"direct")
    assert not stream.has_backlog
    assert read_now(far) == b"direct"


def test_the_backlog_stays_while_the_client_does_not_read(ends: tuple[Stream, socket.socket]) -> None:
    stream, _ = ends
    fill(stream)

    assert stream.send_backlog()
    assert stream.has_backlog


def test_nothing_to_send_is_sent(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    assert stream.send(b"")
    assert not stream.has_backlog
    sent = fill(stream)
    assert stream.send(b"")

    assert read_all(stream, far) == sent


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.one_of(st.integers(0, 9000), st.sampled_from(["read", "write", "read a little"])), max_size=30
    )
)
def test_however_the_client_reads_it_gets_all_bytes_in_order(steps: list[int | str]) -> None:
    near, far = pair()
    stream = stream_on(near)
    sent, received = b"", b""
    with near, far:
        for number, step in enumerate(steps):
            if isinstance(step, int):
                frame = bytes([number]) * step
                assert stream.send(frame)
                sent += frame
            elif step == "write":
                assert stream.send_backlog()
            elif step == "read":
                received += read_now(far)
            else:
                with contextlib.suppress(BlockingIOError):
                    received += far.recv(700)
        received += read_all(stream, far)

    assert received == sent


# -- a slow client ---------------------------------------------------------------------------------


def test_the_backlog_is_bounded_to_the_byte() -> None:
    near, far = pair()
    stream = stream_on(near, max_backlog_bytes=2000)
    with near, far:
        # Straight to the kernel, so that nothing of it counts.
        with contextlib.suppress(BlockingIOError):
            while near.send(b"f" * 1000):
                pass

        assert stream.send(b"x" * 1500)
        assert stream.send(b"x" * 500)
        assert not stream.send(b"x")


def test_what_the_socket_took_does_not_count() -> None:
    near, far = pair()
    stream = stream_on(near, max_backlog_bytes=2000)
    with near, far:
        taken = near.send(b"f" * 1_000_000)
        read_now(far)

        assert stream.send(b"x" * (taken + 1000))
        assert stream.has_backlog


def test_room_comes_back_as_the_client_reads() -> None:
    near, far = pair()
    stream = stream_on(near, max_backlog_bytes=3000)
    with near, far:
        for _ in range(50):
            assert stream.send(b"x" * 2500)
            while stream.has_backlog:
                read_now(far)
                assert stream.send_backlog()

        while stream.send(b"x" * 2500):
            pass
        assert stream.has_backlog


# -- a client that left ----------------------------------------------------------------------------


def test_a_client_that_left_cannot_be_sent_to(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    far.close()

    assert not stream.send(b"x")
    assert not stream.has_backlog


def test_a_client_that_left_ends_the_backlog(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    fill(stream)
    far.close()

    assert not stream.send_backlog()


def test_a_client_that_is_silent_stays(ends: tuple[Stream, socket.socket]) -> None:
    stream, _ = ends

    assert stream.discard_input()


def test_what_a_client_sends_is_thrown_away(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    far.send(b"GET / HTTP/1.1\r\n\r\n")

    assert stream.discard_input()
    with pytest.raises(BlockingIOError):
        stream.sock.recv(1)


@pytest.mark.parametrize("leave", [socket.socket.close, lambda far: far.shutdown(socket.SHUT_WR)])
def test_a_client_that_closed_or_half_closed_is_gone(
    leave: object, ends: tuple[Stream, socket.socket]
) -> None:
    stream, far = ends
    far.send(b"last words")
    leave(far)  # type: ignore[operator] # one of the two above

    assert stream.discard_input()
    assert not stream.discard_input()


def test_a_closed_socket_is_gone(ends: tuple[Stream, socket.socket]) -> None:
    stream, _ = ends
    stream.sock.close()

    assert not stream.discard_input()
    assert not stream.send(b"x")


# -- the end ---------------------------------------------------------------------------------------


def test_close_ends_the_connection_although_a_duplicate_is_open(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    duplicate = os.dup(stream.sock.fileno())
    try:
        stream.send(b"data:x\n\n")
        stream.close()

        assert far.recv(100) == b"data:x\n\n"
        assert far.recv(100) == b""
        assert stream.sock.fileno() == -1
    finally:
        os.close(duplicate)


def test_close_may_come_twice_and_after_the_client_left(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    far.close()
    stream.close()
    stream.close()

    assert stream.sock.fileno() == -1


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname(), ANSWER_SECONDS)
        near, _ = listener.accept()
    with near, far:
        yield near, far


def test_unread_input_does_not_cost_the_client_its_last_bytes() -> None:
    with tcp_pair() as (near, far):
        far.sendall(b"x" * 1000)
        near.settimeout(ANSWER_SECONDS)
        # It has arrived when it can be looked at.
        assert near.recv(1, socket.MSG_PEEK)
        stream = stream_on(near)
        stream.send(b"retry:5\n\n")
        stream.close()

        assert far.recv(100) == b"retry:5\n\n"
        assert far.recv(100) == b""
        # A reset behind the end would throw away what other systems have not handed to the client yet.
        assert far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_a_tcp_connection_sends_at_once_and_gives_up_on_the_vanished() -> None:
    with tcp_pair() as (near, _):
        stream_on(near)

        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_a_connection_that_was_reset_is_gone() -> None:
    with tcp_pair() as (near, far):
        stream = stream_on(near)
        # Lingering for no time makes the close a reset.
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()

        assert not stream.discard_input()
        assert not stream.send(b"x")
        stream.close()


# -- what a client that is behind need not get -----------------------------------------------------


def keyed(key: str | None, number: int, size: int = 100) -> tuple[bytes, str | None]:
    """Return an event that can be told from others."""
    return b"data:%b %d %b\n\n" % ((key or "-").encode(), number, b"x" * size), key


def test_of_each_key_the_last_one_waits_behind_what_came_before(ends: tuple[Stream, socket.socket]) -> None:
    stream, far = ends
    sent = fill(stream)
    for number in range(1000):
        assert stream.send(KeyedChunks([keyed("a", number), keyed("b", number)]))
    assert stream.send(KeyedChunks([keyed(None, 7), keyed("a", 1000)]))
    assert len(stream.backlog or ()) < 10

    rest = keyed("b", 999)[0] + keyed(None, 7)[0] + keyed("a", 1000)[0]
    assert read_all(stream, far) == sent + rest


@given(
    steps=st.lists(
        st.tuples(st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=4), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
@settings(max_examples=50, deadline=None)
def test_whatever_is_replaced_events_stay_whole_and_in_order(
    steps: list[tuple[list[str | None], bool]],
) -> None:
    near, far = pair()
    stream = stream_on(near)
    with near, far:
        received = b""
        numbers = itertools.count()
        every: list[bytes] = []
        last: dict[str | None, bytes] = {}
        for keys, reads in steps:
            pieces = [keyed(key, next(numbers), 900) for key in keys]
            every += [data for data, _ in pieces]
            last |= {key: data for data, key in pieces}
            assert stream.send(KeyedChunks(pieces)) or not stream.has_backlog
            if reads:
                received += read_now(far)
                stream.send_backlog()
        received += read_all(stream, far)
    events = [event + b"\n\n" for event in received.split(b"\n\n")[:-1]]
    assert b"".join(events) == received
    assert [event for event in every if event in set(events)] == events
    assert set(last.values()) <= set(events)
    assert {event for event in every if b":- " in event} <= set(events)


@pytest.mark.parametrize("is_begun", [True, False])
def test_who_skips_gets_the_rest_of_what_was_begun_and_then_what_tells_of_it(is_begun: bool) -> None:
    near, far = pair()
    stream = stream_on(near, max_backlog_bytes=100_000)
    with near, far:
        big = b"data:%b\n\n" % (b"x" * 50_000)
        if is_begun:
            assert stream.send(big)
        else:
            sent = fill(stream)
            # The socket is full, and the rest of what was begun is gone from the backlog.
            received = read_all(stream, far)
            assert received == sent
            while _takes(stream.sock):
                pass
        while stream.send(b"data:waits\n\n" * 1000):
            pass
        assert stream.skip_to(b"data:reset\n\n")
        received = read_all(stream, far).lstrip(b"f")
    assert received == (big if is_begun else b"") + b"data:reset\n\n"


def _takes(sock: socket.socket) -> bool:
    try:
        sock.send(b"f")
    except BlockingIOError:
        return False
    return True
