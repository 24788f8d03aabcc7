"""What one client can do with modest means, over HTTP alone; as a program, it does one of it for a while."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import time
from collections.abc import Callable, Iterator

from tests.support.client import request_bytes

# Of a channel that has many events, and of one whose events are large and many.
ARCHIVE, FLOOD, REFUSED = "archive", "flood", "refused"
READERS = 30
RESPONSES = 100
PAGES = 8
LARGE_BYTES = 12_000_000
# All others come from 127.0.0.1.
ADDRESS = "127.0.0.2"
_SECONDS = 5.0


def ask(
    port: int, path: str, *, method: str = "GET", buffer_bytes: int | None = None, address: str = ""
) -> socket.socket:
    """Send a request, and return its connection."""
    sock = socket.socket()
    sock.settimeout(_SECONDS)
    sock.bind((address, 0))
    if buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.connect(("127.0.0.1", port))
    sock.sendall(request_bytes(path).replace(b"GET", method.encode(), 1))
    return sock


def read_until(sock: socket.socket, text: bytes, most: int = 1_000_000) -> bytes:
    """Read until a text came, or the end, or very much; return all of it."""
    data = bytearray()
    with contextlib.suppress(OSError):
        while text not in data[-10_000:] and len(data) < most and (piece := sock.recv(65536)):
            data += piece
    return bytes(data)


def must_get(sock: socket.socket, text: bytes) -> None:
    """Read until a text came.

    Raises:
        ValueError: If it does not come.
    """
    data = read_until(sock, text)
    if text not in data:
        raise ValueError(f"{data!r} and no {text!r}")


def made_up_names(port: int, number: int) -> None:
    """Listen to a channel that nobody has heard of, one at a time."""
    with ask(port, f"/stream?channel=made-up-{number}") as sock:
        read_until(sock, b"stream-open")


def made_up_runs(port: int, number: int) -> None:
    """Follow a run that nobody has heard of, one at a time."""
    with ask(port, f"/stream?channel=run:made-up-{number}") as sock:
        read_until(sock, b"stream-open")


def replays(port: int, number: int) -> None:
    """Read all that is kept of a channel, again and again, by four pages at a time."""
    with contextlib.ExitStack() as stack:
        path = f"/stream?channel={ARCHIVE}&last_event_id=earliest&n={number}"
        for sock in [stack.enter_context(ask(port, path)) for _ in range(4)]:
            read_until(sock, b"the last one")


def refused_reads(port: int, number: int) -> None:
    """Ask for a channel whose history the broker refuses to read, and leave."""
    with contextlib.ExitStack() as stack:
        path = f"/stream?channel={REFUSED}&n={number}"
        socks = [stack.enter_context(ask(port, path)) for _ in range(5)]
        for sock in socks:
            read_until(sock, b"retry:")


def short_runs(port: int, number: int) -> None:
    """Start a run; cancel one that has not begun."""
    for method, name in (("POST", f"job-{number}"), ("DELETE", f"job-{number}-never-begun")):
        with ask(port, f"/runs/{name}", method=method) as sock:
            read_until(sock, b"\r\n\r\n")


def reloads(port: int, number: int) -> None:
    """Reload some pages that all listen."""
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        path = f"/stream?channel=pages&n={number}"
        for sock in [stack.enter_context(ask(port, path)) for _ in range(PAGES)]:
            read_until(sock, b"stream-open")


def relayed_reloads(port: int, number: int) -> None:
    """Reload as many pages as one address may have; those that were there before have just left."""
    with contextlib.ExitStack() as stack:
        path = f"/stream?channel=pages&n={number}"
        for sock in [stack.enter_context(ask(port, path, address=ADDRESS)) for _ in range(PAGES)]:
            must_get(sock, b"event:stream-open")


def steady_reader(port: int, number: int, bytes_per_second: int = 800_000) -> None:
    """Read one large item, slowly and without a pause."""
    with ask(port, f"/large/{LARGE_BYTES}?n={number}", buffer_bytes=65536) as sock:
        began, received, tail = time.monotonic(), 0, b""
        while piece := sock.recv(65536):
            received += len(piece)
            tail = (tail + piece)[-1000:]
            time.sleep(max(0.0, began + received / bytes_per_second - time.monotonic()))
    if b"event:stream-end" not in tail:
        raise ValueError(f"cut after {received} bytes and {time.monotonic() - began:.1f} s: {tail!r}")


def quick_steady_reader(port: int, number: int) -> None:
    """Do the same where a client is given up sooner."""
    steady_reader(port, number, 5_000_000)


def without_descriptors(port: int, number: int) -> None:
    """Ask for a stream of a worker that has no descriptor left."""
    with ask(port, f"/stream?channel=pages&exhaust={number}") as sock:
        must_get(sock, b"\r\n\r\n:no stream can be opened now\n\nretry:")


@contextlib.contextmanager
def slow_readers(port: int) -> Iterator[None]:
    """Open streams that get much, and read nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(ask(port, f"/stream?channel={FLOOD}", buffer_bytes=4096))
        yield


@contextlib.contextmanager
def endless_responses(port: int) -> Iterator[None]:
    """Ask for responses that never end, and read nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(RESPONSES):
            stack.enter_context(ask(port, "/response", buffer_bytes=4096))
        yield


REPEATED: dict[str, Callable[[int, int], None]] = {
    attack.__name__: attack
    for attack in (
        made_up_names,
        made_up_runs,
        replays,
        refused_reads,
        short_runs,
        reloads,
        relayed_reloads,
        steady_reader,
        quick_steady_reader,
        without_descriptors,
    )
}
HELD: dict[str, Callable[[int], contextlib.AbstractContextManager[None]]] = {
    attack.__name__: attack for attack in (slow_readers, endless_responses)
}


def attack(name: str, port: int, seconds: float) -> int:
    """Do it for a while; return how often."""
    end = time.monotonic() + seconds
    if name in HELD:
        with HELD[name](port):
            time.sleep(seconds)
        return 1
    for number in itertools.count():
        if time.monotonic() > end:
            return number
        REPEATED[name](port, number)
    raise AssertionError


if __name__ == "__main__":
    print(attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
