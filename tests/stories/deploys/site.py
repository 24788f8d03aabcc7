"""A web application that is deployed again and again, and somebody who publishes meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support.client import Answer, get
from tests.support.processes import Process, children, free_port, running, wait_until
from tests.support.webservers import WEB_SERVERS
from tests.tools import ROOT

from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.settings import Settings

APPS = ROOT / "tests" / "stories" / "integration" / "apps"
WORKERS = 2


class Site:
    """gunicorn with two workers on one port; leaving the ``with`` block ends it.

    Args:
        url: Of the broker.
        worker: The class of its workers.
        options: Words at the end of its command line.
        config: Settings of the application.
        env: Variables on top of our own.

    Attributes:
        port: Of 127.0.0.1.
        settings: Those of the application.
    """

    def __init__(
        self,
        url: str,
        *,
        worker: str = "sync",
        options: tuple[str, ...] = (),
        config: Mapping[str, object],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        everything = {"SSE_BROKER_URL": url, **config}
        self.settings = Settings.from_mapping(everything)
        self._argv = [
            *WEB_SERVERS[f"gunicorn-{worker}"].argv("plain:app", self.port),
            *("--workers", str(WORKERS), *options),
        ]
        paths = [str(APPS), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self._env = {f"FLASK_{key}": str(value) for key, value in everything.items()}
        self._env |= env or {}
        self._env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.close()

    def _start(self) -> Process:
        return Process(self._argv, self._env, ready=self.port)

    def get(self, path: str) -> Answer:
        """Ask for ``path``."""
        return get(self.port, path)

    def workers(self) -> list[int]:
        """Return the pids of its workers, all of them."""

        def found() -> list[int] | None:
            workers = children(self.process.pid)
            return workers if len(workers) == WORKERS else None

        return wait_until(found, what="all workers")

    @contextmanager
    def new_workers(self) -> Iterator[None]:
        """Wait until none of the present workers is left, and others are there."""
        before = self.workers()
        yield
        wait_until(lambda: not any(map(running, before)), what="the workers of before gone")
        wait_until(lambda: not set(self.workers()) & set(before), what="new workers")
        assert self.get("/ordinary").status == 200

    def reload(self) -> None:
        """Start new workers with the code of now, as ``kill -HUP`` does."""
        with self.new_workers():
            os.kill(self.process.pid, signal.SIGHUP)

    def restart(self) -> None:
        """Stop it, and start another one."""
        assert self.process.terminate() == 0
        self.process.close()
        self.process = self._start()
        self.workers()

    def lose_power(self) -> None:
        """Kill the master and its workers, and start another one."""
        self.process.kill_tree()
        self.process.close()
        self.process = self._start()
        self.workers()

    def kill_master(self) -> None:
        """Kill the master alone: its workers notice and end; start another one."""
        workers = self.workers()
        self.process.kill()
        wait_until(lambda: not any(map(running, workers)), what="the workers gone")
        self.process.close()
        self.process = self._start()
        self.workers()

    def kill_worker(self) -> None:
        """Kill one worker; its master starts another one."""
        worker = self.workers()[0]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not running(worker), what="its end")
        assert self.get("/ordinary").status == 200
        self.workers()

    @property
    def hub_files(self) -> Path:
        """Where its hub listens; lock and log are beside."""
        return hub_path(self.settings)
