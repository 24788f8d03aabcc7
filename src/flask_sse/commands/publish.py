"""The command ``flask sse publish``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click
from flask.cli import with_appcontext

from ..blueprint import sse
from ..channels import DEFAULT_CHANNEL
from ..errors import SSEError
from .click_errors import as_click_error

_STDIN = "-"


@click.command()
@click.argument("data", default=_STDIN)
@click.option("--channel", "-c", default=DEFAULT_CHANNEL, show_default=True, help="The channel.")
@click.option("--type", "-t", "event_type", help="The event type that pages listen to.")
@click.option("--id", "event_id", help="The event id that pages see.")
@click.option("--retry", type=int, help="The reconnection time of the clients, in milliseconds.")
@click.option("--key", help="Idempotency key: a retry within five minutes publishes nothing.")
@click.option("--json", "is_json", is_flag=True, help="The data is JSON; anything else is an error.")
@click.option("--lines", is_flag=True, help="Publish each line of the input as it arrives.")
@with_appcontext
def publish(
    *,
    data: str,
    channel: str,
    event_type: str | None,
    event_id: str | None,
    retry: int | None,
    key: str | None,
    is_json: bool,
    lines: bool,
) -> None:
    """Publish DATA, or standard input."""
    if lines and (data != _STDIN or event_id is not None or key is not None):
        raise click.UsageError("--lines needs standard input, and excludes --id and --key")
    for text in _texts(data, lines=lines):
        value = _parsed(text) if is_json else text
        with as_click_error(SSEError, KeyError):
            published = sse.publish(value, event_type, event_id, retry, channel, key=key)
        click.echo(f"receivers: {int(published)}" + (f"  id: {published.id}" if published.id else ""))


def _texts(data: str, *, lines: bool) -> Iterator[str]:
    if data != _STDIN:
        yield data
        return
    if lines:
        yield from (line.removesuffix("\n") for line in sys.stdin)
    else:
        # As $(...) in a shell does: most programs end the output with a line break that is not data.
        yield sys.stdin.read().removesuffix("\n")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"the data is not JSON: {error}") from error
