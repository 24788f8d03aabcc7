"""The command ``flask-sse``: runs a hub for operators, without an application."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import click

from .errors import InvalidSettingError
from .settings import Settings, unknown_settings
from .urls import check_url
from .version import __version__

logger = logging.getLogger(__name__)

_LEVELS = ("debug", "info", "warning", "error")


@click.group()
@click.version_option(__version__, prog_name="flask-sse")
def main() -> None:
    """Live events for Flask."""


@main.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where applications connect, as in SSE_HUB=unix:PATH. By default the socket that systemd passes, or "
    "else the one in SSE_HUB.",
)
@click.option(
    "--broker-url-from-env",
    "variable",
    metavar="NAME",
    help="Take the broker's URL from this environment variable, not from SSE_BROKER_URL, SSE_REDIS_URL or "
    "REDIS_URL.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of hubs that share the streams.",
)
@click.option(
    "--replace", is_flag=True, help="Replace the hub that runs there, if any, with a handover of its streams."
)
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.option("--json-logs", is_flag=True, help="Write one JSON object per line.")
@click.pass_context
def hub(
    context: click.Context,
    *,
    path: Path | None,
    variable: str | None,
    processes: int,
    replace: bool,
    log_level: str,
    json_logs: bool,
) -> None:
    """Hold the open event streams of this machine, in the foreground.

    Settings are read from environment variables with the same names as in app.config. SIGTERM and SIGINT end
    all streams within SSE_DRAIN_SECONDS, a second one at once. SIGHUP starts new processes, with a handover
    of all streams.

    \b
    Exit codes: 0 ended by a signal, or replaced by another hub; 1 failed; 2 bad usage or settings;
    3 a hub or another program already listens there; 4 the hub there was not replaced, and keeps running.
    """  # noqa: D301 - \b is markup of click
    from .hub.client.config import hub_config  # noqa: PLC0415 - it belongs to the others
    from .hub.process.job import Job  # noqa: PLC0415 - not for Windows
    from .hub.process.logs import log_to_stderr  # noqa: PLC0415 - not for Windows
    from .hub.process.supervisor import supervise  # noqa: PLC0415 - not for Windows
    from .hub.process.systemd import activated_sockets  # noqa: PLC0415 - not for Windows

    try:
        activated = activated_sockets()
    except ValueError as error:
        raise click.UsageError(f"the sockets in LISTEN_FDS cannot be used: {error}") from error
    path = _path(path, activated)
    settings = _settings(variable)
    if processes > 1 and settings.broker_url.startswith("memory:"):
        raise click.UsageError("memory:// lives in one process; use Redis or Valkey with --processes")
    log_to_stderr(log_level.upper(), json_logs=json_logs)
    for key, text in unknown_settings(os.environ).items():
        # The operator's own variable for the URL is no typo of a setting.
        if key != variable:
            logger.warning("%s", text)
    job = Job(
        str(path),
        hub_config(settings),
        processes=processes,
        log_level=log_level.upper(),
        json_logs=json_logs,
    )
    context.exit(supervise(path.absolute(), job, replaces=replace, activated=activated))


def _path(path: Path | None, activated: Sequence[socket.socket]) -> Path:
    # The name of an abstract socket is bytes, that of any other kind a pair.
    names = [name for each in activated if isinstance(name := each.getsockname(), str) and name]
    if len(names) < len(activated):
        raise click.UsageError("systemd passed a socket without a path; set ListenStream= to a path")
    if activated:
        if path is not None and path.absolute() != Path(names[0]):
            raise click.UsageError(f"--socket {path} is not the socket that systemd passed, {names[0]}")
        return Path(names[0])
    if path is not None:
        return path
    hub = os.environ.get("SSE_HUB", "")
    if hub.startswith("unix:"):
        return Path(hub.removeprefix("unix:"))
    raise click.UsageError("no socket path: give --socket PATH, or SSE_HUB=unix:PATH in the environment")


def _settings(variable: str | None) -> Settings:
    environment = dict(os.environ)
    if variable is not None:
        if not environment.get(variable):
            raise click.UsageError(f"--broker-url-from-env: the environment has no {variable}")
        environment["SSE_BROKER_URL"] = environment[variable]
    try:
        if variable is not None:
            check_url(variable, environment[variable])
        return Settings.from_mapping(environment)
    except KeyError as error:
        raise click.UsageError(
            "no broker URL in the environment: set SSE_BROKER_URL (redis://localhost or memory://NAME), "
            "SSE_REDIS_URL or REDIS_URL, or name another variable with --broker-url-from-env"
        ) from error
    except InvalidSettingError as error:
        raise click.UsageError(str(error)) from error
