"""The command ``flask sse status``."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import click
from flask.cli import with_appcontext

from ..blueprint import sse
from ..errors import SSEError
from ..extension import current_extension
from ..health import ask_broker
from ..wire.cursor import read_cursor
from ..wording import counted
from .click_errors import as_click_error

WATCH_SECONDS = 1.0
_SHOWN_CHANNELS = 20


@click.command()
@click.option("--watch", is_flag=True, help="Repeat every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, for programs.")
@with_appcontext
@click.pass_context
def status(context: click.Context, *, watch: bool, as_json: bool) -> None:
    """Show the state of the hub and of the broker, with streams and rates.

    Exit codes: 0 both respond; 1 the hub or the broker cannot be reached.
    """
    with as_click_error(KeyError), contextlib.suppress(KeyboardInterrupt):
        state = look()
        while watch:
            click.clear()
            _show(state, as_json=as_json)
            time.sleep(WATCH_SECONDS)
            state = look()
        _show(state, as_json=as_json)
        context.exit(0 if state["broker"].get("error") is None and "error" not in state["hub"] else 1)


def look() -> dict[str, Any]:
    """Return the state of the hub and of the broker.

    Returns:
        ``hub`` is the result of ``sse.status(details=True)``; ``broker`` has ``milliseconds``, the time of a
        round trip; either has only ``error`` if it did not respond. ``history`` is the setting.
    """
    history = current_extension().settings.history
    return {
        "hub": _hub(),
        "broker": _broker(),
        "history": {"size": history.size, "seconds": history.seconds},
    }


def _hub() -> dict[str, Any]:
    try:
        return sse.status(details=True)
    except SSEError as error:
        return {"error": str(error)}


def _broker() -> dict[str, Any]:
    try:
        return {"milliseconds": ask_broker()}
    except SSEError as error:
        return {"error": str(error)}


def _show(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(state))
        return
    hub, broker, history = state["hub"], state["broker"], state["history"]
    if "error" in hub:
        _line("hub", click.style(hub["error"], fg="red"))
    else:
        _line("hub", f"process {hub['pid']}, {counted(hub['apps'], 'connection')} of applications")
    error = broker.get("error") or ("the hub cannot reach it" if hub.get("broker_away") else "")
    responds = f"responds in {broker.get('milliseconds')} ms"
    _line("broker", click.style(error, fg="red") if error else responds)
    _line("history", f"{counted(history['size'], 'event')}, {history['seconds']:g} s")
    if "error" not in hub:
        _show_hub(hub)


def _show_hub(hub: dict[str, Any]) -> None:
    _line("streams", f"{hub['streams']} open on {counted(hub['channels'], 'channel')}")
    rates = f"{hub['events_per_second']:.1f} events/s, {hub['deliveries_per_second']:.1f} deliveries/s"
    waiting, slow = counted(hub["backlog_bytes"], "byte"), counted(len(hub["slowest"]), "slow client")
    _line("now", f"{rates}, {waiting} waiting for {slow}")
    resets, lost = counted(hub["resets"], "reset"), counted(hub["lost_runs"], "lost run")
    streams = f"{hub['opened']} opened, {hub['resumed']} resumed, {resets}, {hub['rejected']} rejected"
    _line("so far", f"{streams}, {hub['ended_slow']} ended slow, {hub['revoked']} revoked, {lost}")
    if not hub["busiest"]:
        return
    click.echo()
    click.secho(f"{'channel':<40} {'streams':>8} {'events':>9}  last event", dim=True)
    for channel in hub["busiest"][:_SHOWN_CHANNELS]:
        name, when = ascii(channel["channel"])[1:-1], _when(channel["last_event_id"])
        click.echo(f"{name[:40]:<40} {channel['streams']:>8} {channel['events']:>9}  {when}")


def _line(name: str, text: str) -> None:
    click.echo(f"{click.style(f'{name:<8}', bold=True)} {text}")


def _when(last_event_id: str | None) -> str:
    cursor = read_cursor(last_event_id or "")
    if cursor is None:
        return "no history"
    milliseconds = int(cursor.id.partition("-")[0])
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000)) if milliseconds else "none"
