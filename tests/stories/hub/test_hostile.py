"""Nothing that comes over a control connection harms the hub or anybody's stream."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.bare_application import BareApplication
from tests.support.hostile import ATTACH, EVERYBODY, HELLO, Peer, honest_streams_go_on, publication, refuse
from tests.support.hubs import separate_hubs
from tests.support.patience import PATIENT_SECONDS
from tests.support.swarm import raise_descriptor_limit

from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.protocol.hello import PROTOCOLS
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.requests import status_request, submit_request

URL = "memory://hostile"
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def hub() -> Iterator[BareApplication]:
    raise_descriptor_limit()
    with separate_hubs(), BareApplication(URL) as client:
        yield client


def garbage(path: Path) -> None:
    for data in (b"\r\n\r\n" * 100, b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\xff" * 100, os.urandom(1000)):
        with Peer(path) as peer:
            peer.send(data)
            peer.sock.shutdown(socket.SHUT_WR)
            assert b'"op":"answer"' not in peer.rest()


def half_a_message_and_silence(path: Path) -> None:
    with Peer(path, HELLO) as silent:
        silent.send(ATTACH.packet().encode()[:-3])
        assert_alive(path, "half a message")


def half_a_message_and_the_end(path: Path) -> None:
    for length in range(1, len(HELLO.encode())):
        with Peer(path) as peer:
            peer.send(HELLO.encode()[:length])
    ours, hubs = socket.socketpair()
    with ours:
        with hubs, Peer(path, HELLO) as peer:
            peer.send(ATTACH.packet().encode()[:-1], [hubs.fileno()])
        ours.settimeout(PATIENT_SECONDS)
        assert ours.recv(1) == b"", "a descriptor whose request never came whole is kept"


def no_socket(path: Path) -> None:
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as file, os.fdopen(reader), os.fdopen(writer, "w"), select.epoll() as epoll:
        for number in (file.fileno(), reader, writer, epoll.fileno(), os.open("/dev/zero", os.O_RDONLY)):
            refuse(path, ATTACH.packet().encode(), b"no socket", sends=[number])
        os.close(number)


def no_connection(path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets,
    ):
        for sock in (listener, datagrams, packets):
            refuse(path, ATTACH.packet().encode(), b"no connection", sends=[sock.fileno()])


def closed_peer(path: Path) -> None:
    with Peer(path, HELLO) as peer:
        for family in (socket.AF_INET, socket.AF_UNIX):
            with socket.socket(family) as never_connected:
                peer.send(ATTACH.packet().encode(), [never_connected.fileno()])
        ours, hubs = socket.socketpair()
        ours.close()
        with hubs:
            peer.send(ATTACH.packet().encode(), [hubs.fileno()])
        peer.send(status_request().encode())
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.rest().count(b'"op":"answer"') == 2


def its_own_control_connection(path: Path) -> None:
    """The hub would write the stream to itself."""
    with Peer(path, HELLO) as peer:
        peer.send(ATTACH.packet().encode(), [peer.sock.fileno()])


def one_connection_many_times(path: Path) -> None:
    ours, hubs = socket.socketpair()
    with ours, Peer(path, HELLO) as peer:
        with hubs:
            for _ in range(50):
                peer.send(ATTACH.packet().encode(), [hubs.fileno()])
        peer.send(status_request().encode())
        peer.sock.shutdown(socket.SHUT_WR)
        peer.rest()


def descriptors_without_end(path: Path) -> None:
    ours, hubs = socket.socketpair()
    with ours, hubs:
        refuse(path, ATTACH.packet().encode(), b"more descriptors", sends=[hubs.fileno()] * 200)


def descriptors_without_a_request(path: Path) -> None:
    ours, hubs = socket.socketpair()
    with ours, hubs:
        with Peer(path, HELLO) as peer:
            peer.send(status_request().encode(), [hubs.fileno()] * 30)
            peer.send(status_request().encode()[:3], [hubs.fileno()] * 30)
        with Peer(path, HELLO) as peer:
            for _ in range(30):
                peer.send(status_request().encode(), [hubs.fileno()] * 3)
            assert b"more descriptors" in peer.rest()
        hubs.close()
        ours.settimeout(PATIENT_SECONDS)
        assert ours.recv(1) == b"", "a descriptor that no request took is kept"


def attach_without_descriptor(path: Path) -> None:
    refuse(path, ATTACH.packet().encode(), b"without its descriptor")


def ten_megabytes_announced(path: Path) -> None:
    refuse(path, struct.pack("!II", 0, 10 * MEGABYTE), b"a body of 10485760 bytes")
    with Peer(path) as peer:
        peer.send(struct.pack("!II", 65535, 2**32 - 1))
        assert b"a body of 4294967295 bytes" in peer.rest()


def ten_megabytes_sent(path: Path) -> None:
    refuse(
        path,
        submit_request(publication("hostile", bytes(10 * MEGABYTE))).encode(),
        b"a body of 10485760 bytes",
    )
    refuse(path, bytes(10 * MEGABYTE), b"fields that are not JSON")


def tiny_connections(path: Path) -> None:
    for _ in range(5000):
        Peer(path).sock.close()


def idle_connections(path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(300):
            stack.enter_context(Peer(path, *[HELLO] * (number % 2)))
        assert_alive(path, "300 connections")


def other_version(path: Path) -> None:
    ours = PROTOCOLS[-1]
    for protocols in ([0], [1, 2], [ours + 1], [str(ours)], None, ours, [[ours]], {str(ours): ours}):
        with Peer(path, Packet("hello", {**HELLO.fields, "protocols": protocols})) as peer:
            assert b"this hub speaks protocol %d" % ours in peer.rest()


def hello_twice_or_never(path: Path) -> None:
    refuse(path, HELLO.encode(), b"a request 'hello'")
    with Peer(path, status_request()) as peer:
        assert b"this hub speaks protocol %d" % PROTOCOLS[-1] in peer.rest()


def fields_that_nobody_can_read(path: Path) -> None:
    for fields in (
        b"[" * 60_000,
        b'{"op":' * 10_000,
        b"1" * 60_000,
        b"[]",
        b"null",
        b'{"op":["x"]}',
        b"\xff{}",
    ):
        refuse(path, struct.pack("!II", len(fields), 0) + fields, b"fields")


def envelopes_that_nobody_can_read(path: Path) -> None:
    """Those are the publisher's fault alone: the connection goes on."""
    nested, number = b'{"data": ' + b"[" * 100_000, b'{"data": "", "retry": ' + b"9" * 5000 + b"}"
    for envelope in (nested, number, b"", b"\xff", b"null", b'{"data": NaN}', b'{"data": "", "type": {}}'):
        with Peer(path, HELLO, submit_request(publication(EVERYBODY, envelope)), status_request()) as peer:
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.rest().count(b'"op":"answer"') == 3


def unknown_request(path: Path) -> None:
    for op in ("", "stop", "x" * 60_000, "\x1b[2J\nforged log line"):
        refuse(path, Packet(op, {}).encode(), b"a request")


def answers_never_read(path: Path) -> None:
    with Peer(path, HELLO) as peer:
        for _ in range(200):
            peer.send(status_request().encode() * 100)
        # What fitted into the buffer, and then the end: not the answers to all 20 000.
        assert peer.rest().count(b'"op":"answer"') < 20_000


# Values that a careless reader falls over, for any field.
NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    1.5,
    1e308,
    10**400,
    float("inf"),
    float("nan"),
    "",
    "\ud800",
    "x" * 300,
    [],
    [[]],
    [5, 1],
    ["a", "a"],
    ["\ud800", "\x00"],
    {},
    {"a": []},
)


def nasty_values(path: Path) -> None:
    """Each field of each request with each nasty value, everything else right."""
    rules = {**asdict(ATTACH.rules), "retry_ms": list(ATTACH.rules.retry_ms)}
    packets = [HELLO, ATTACH.packet(), submit_request(publication("hostile", b"{}"))]
    cases = [
        Packet(packet.op, {**packet.fields, name: nasty}, packet.body)
        for packet in packets
        for name in packet.fields
        for nasty in NASTY
    ]
    cases += [
        Packet("attach", {**ATTACH.packet().fields, "rules": {**rules, name: nasty}})
        for name in rules
        for nasty in NASTY
    ]
    with contextlib.ExitStack() as stack:
        for packet in cases:
            ours, hubs = socket.socketpair()
            peer = stack.enter_context(Peer(path, HELLO))
            with hubs:
                peer.send(packet.encode(), [hubs.fileno()])
            stack.enter_context(ours)
            assert_alive(path, packet)
        # The hub's clock has looked at all of them, and goes on.
        with BareApplication(URL) as client, client.stream("clock", heartbeat_seconds=0.1) as stream:
            stream.wait_for_bytes(b":\n\n:\n\n")


def random_packets(path: Path) -> None:
    source = random.Random(20240229)
    valid = [
        HELLO,
        ATTACH.packet(),
        submit_request(publication("hostile", b'{"data": "x"}')),
        status_request(),
    ]
    for number in range(500):
        data = bytearray(b"".join(packet.encode() for packet in source.choices(valid, k=3)))
        for _ in range(source.randrange(1, 5)):
            at = source.randrange(len(data))
            data[at : at + source.randrange(4)] = source.randbytes(source.randrange(4))
        ours, hubs = socket.socketpair()
        with ours, hubs, Peer(path, HELLO) as peer:
            peer.send(bytes(data), [hubs.fileno()])
        if number % 50 == 0:
            assert_alive(path, number)


def assert_alive(path: Path, case: object) -> None:
    with Peer(path, HELLO, status_request()) as peer:
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.rest().count(b'"op":"answer"') == 2, f"dead after {case}"


ATTACKS: list[Callable[[Path], None]] = [
    garbage,
    half_a_message_and_silence,
    half_a_message_and_the_end,
    no_socket,
    no_connection,
    closed_peer,
    its_own_control_connection,
    one_connection_many_times,
    descriptors_without_end,
    descriptors_without_a_request,
    attach_without_descriptor,
    ten_megabytes_announced,
    ten_megabytes_sent,
    tiny_connections,
    idle_connections,
    fields_that_nobody_can_read,
    envelopes_that_nobody_can_read,
    other_version,
    hello_twice_or_never,
    unknown_request,
    answers_never_read,
    nasty_values,
    random_packets,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_hub_survives(attack: Callable[[Path], None], hub: BareApplication) -> None:
    with honest_streams_go_on(hub) as path:
        attack(path)


def test_hub_does_not_grow_when_all_of_it_comes_again(hub: BareApplication) -> None:
    memory = []
    for _ in range(2):
        for attack in ATTACKS:
            attack(hub_path(hub.settings))
        memory.append(psutil.Process(hub.pid).memory_info().rss)
    assert memory[1] - memory[0] < 4 * MEGABYTE
