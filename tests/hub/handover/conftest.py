"""A listening socket in the place of a predecessor's, and snapshots to hand over there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.patience import PATIENT_SECONDS

from flask_sse.errors import HubUnavailableError
from flask_sse.hub.handover.receiver import Receiver

Received = list[Receiver | HubUnavailableError]


class Successor:
    """A thread that receives a snapshot from the hub at a path, and commits."""

    def __init__(self, path: Path) -> None:
        self.result: Receiver | HubUnavailableError | None = None
        self._path = path
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            receiver = Receiver(self._path, only_if_older=False)
            receiver.commit()
        except HubUnavailableError as error:
            self.result = error
        else:
            self.result = receiver

    def join(self) -> Receiver | HubUnavailableError | None:
        self._thread.join(PATIENT_SECONDS)
        return self.result


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hub.sock"))
        listener.listen()
        listener.settimeout(PATIENT_SECONDS)
        yield listener


@pytest.fixture
def start_successor(listener: socket.socket) -> Callable[[], Successor]:
    return lambda: Successor(Path(listener.getsockname()))
