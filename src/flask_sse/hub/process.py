"""The hub as a process of its own: what happens between its start and its event loop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidSettingError
from ..settings import Settings
from .limits import raise_descriptor_limit
from .server import HubServer

logger = logging.getLogger(__name__)

# The descriptors that an application gives the hub it starts.
SETTINGS_FD, LOCK_FD = 0, 3

_FAILED = 1
_BAD_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a hub until it is told to stop or nobody needs it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flask_sse.hub",
        description="Hold the open event streams of this machine. Settings are read from environment "
        "variables with the same names as in app.config.",
    )
    parser.add_argument("--socket", type=Path, help="where applications connect: SSE_HUB=unix:PATH")
    path = parser.parse_args(arguments).socket
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s hub %(process)d %(message)s"
    )
    return _run_started_by_app() if path is None else _run_for_operator(path)


def _run_started_by_app() -> int:
    try:
        if os.isatty(SETTINGS_FD):
            raise ValueError("a person")
        with open(SETTINGS_FD, encoding="utf-8") as stream:
            config: dict[str, Any] = json.loads(stream.readline())
        path = Path(config.pop("socket"))
    except (ValueError, KeyError, OSError):
        sys.stderr.write("give --socket PATH; only an application starts a hub without one\n")
        return _BAD_USAGE
    if os.fork():
        # The application waits for this process; the hub itself is nobody's child.
        os._exit(0)
    os.setsid()
    os.chdir("/")
    # A web server's listening socket must not live on in here after the server has stopped.
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - numbers, not paths
        if number > LOCK_FD:
            with contextlib.suppress(OSError):
                os.close(number)
    # The lock says that no other hub lives here: what is there is left over.
    path.unlink(missing_ok=True)
    return _serve(config, path, linger=True)


def _run_for_operator(path: Path) -> int:
    try:
        settings = Settings.from_mapping(os.environ)
    except (KeyError, InvalidSettingError) as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return _BAD_USAGE
    return _serve(hub_config(settings), path, linger=False)


def hub_config(settings: Settings) -> dict[str, Any]:
    """Return what the hub itself must know; the rest travels with each stream."""
    return {
        "broker_url": settings.broker_url,
        "max_event_bytes": settings.max_event_bytes,
        "stream_limit": settings.max_streams,
    }


def _serve(config: dict[str, Any], path: Path, *, linger: bool) -> int:
    raise_descriptor_limit()

    async def serve() -> int:
        try:
            server = HubServer(**config)
            # The socket appears when the hub is ready, so whoever can connect is answered.
            server.listen(path, linger=linger)
        except (OSError, InvalidSettingError) as error:
            logger.error("cannot begin at %s: %s", path, error)  # noqa: TRY400 - the text says it all
            return _BAD_USAGE
        server.stop_on_signals()
        logger.info("ready at %s", path)
        reason = await server.run()
        logger.info("stopped: %s; %s", reason, server.status())
        return 0

    try:
        return asyncio.run(serve())
    except Exception:
        logger.exception("the hub failed")
        return _FAILED
