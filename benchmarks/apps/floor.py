"""The floor: accept clients and send each the same bytes again and again, nothing else.

Usage: floor.py PORT EVENTS PER_SECOND. Begins to send at SIGUSR1.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:\n\n"
FRAME = b"data:" + b"x" * 93 + b"\n\n"

clients: list[socket.socket] = []


def accept(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(HEAD)
        clients.append(client)


def main(port: int, events: int, per_second: float) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGUSR1})
    for _ in range(events):
        for client in clients:
            client.send(FRAME)
        time.sleep(1 / per_second)
    signal.pause()


main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
