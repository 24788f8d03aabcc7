"""Clients that others wrote and that stay: many of npm's ``EventSource``, with logs for the checker."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, wait_until
from tests.support.tools import require

from flask_sse.wire.decode import Event

from .clients import MAX_RETRY_SECONDS
from .records import STREAM_OPEN, STREAM_RESET, ClientLog, Opened


class NodeClients:
    """``EventSource`` objects of the npm package in one process; leaving the ``with`` block ends it.

    Args:
        urls: Where they listen, one each.
        channels: Of every stream.
        types: Of the events of applications that they listen to.
        max_retry_seconds: How long they wait at most before they come back, whatever a stream asks for.

    Attributes:
        process: Its process.
    """

    def __init__(
        self,
        urls: Sequence[str],
        channels: Sequence[str],
        *,
        types: Sequence[str] = ("message",),
        max_retry_seconds: float = MAX_RETRY_SECONDS,
    ) -> None:
        self._names = [f"node client {number}" for number in range(len(urls))]
        self._channels = channels
        program = require("eventsource").parents[1] / "listen_many.mjs"
        stdin, other_end = os.pipe()
        self._told = os.fdopen(other_end, "w")
        try:
            self.process = Process([require("node"), program], stdin=stdin)
        except BaseException:
            self._told.close()
            raise
        finally:
            os.close(stdin)
        heard = [*types, STREAM_OPEN, STREAM_RESET]
        spec = {"urls": urls, "types": heard, "maxRetryMilliseconds": max_retry_seconds * 1000}
        print(json.dumps(spec), file=self._told, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._told.close()
        self.process.close()

    def end(self) -> None:
        """Tell all to leave for good, and wait until they have."""
        self._told.close()
        self.process.wait()

    def logs(self) -> list[ClientLog]:
        """Return what each has seen so far."""
        seen: list[list[Opened | Event]] = [[] for _ in self._names]
        connected = [False] * len(seen)
        connections: Counter[int] = Counter()
        for line in self._lines():
            client = line["client"]
            if line["what"] == "event":
                seen[client].append(Event(line["type"], line["data"], line["lastEventId"]))
                continue
            connected[client] = line["what"] == "open"
            if connected[client]:
                connections[client] += 1
                seen[client].append(Opened(connections[client], line["sent"]))
        return [
            ClientLog(name, self._channels, each, connected=open_)
            for name, each, open_ in zip(self._names, seen, connected, strict=True)
        ]

    def failures(self) -> list[str]:
        """Return why clients have given up, each in a line."""
        return [
            f"{self._names[line['client']]}: {line['message']}"
            for line in self._lines()
            if line.get("closed")
        ]

    def wait_opened(self, connections: int = 1, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as all have a stream open, and have had that many."""

        def opened() -> bool:
            if failures := self.failures():
                raise ConnectionError(str(failures))
            return all(
                log.connected and sum(isinstance(each, Opened) for each in log.seen) >= connections
                for log in self.logs()
            )

        wait_until(
            opened, seconds, f"{connections} connections of all; those that gave up: {self.failures()}"
        )

    def _lines(self) -> list[dict[str, Any]]:
        # Not splitlines(), which splits at what JSON of Node holds as it is.
        return [json.loads(line) for line in self.process.output().split("\n")[:-1]]
