"""The command ``flask sse doctor``; it runs in the context of the application."""

from __future__ import annotations

import os

import click

from ..channels import check_channel
from ..errors import UsageError
from .address import Address
from .application import Application
from .judge import judge
from .probe import Patience, examine
from .report import as_json, as_text


@click.argument("url")
@click.option(
    "--channel",
    metavar="NAME",
    help="Listen to this one where a channel made up is refused. By default the one that the URL names.",
)
@click.option(
    "--cookie-from-env",
    "variable",
    metavar="NAME",
    help="Send the cookies in this environment variable, as a visitor who may listen does.",
)
@click.option(
    "--wait",
    "silence_seconds",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600),
    help="Listen so long in silence. By default until the first heartbeat.",
)
@click.option("--json", "is_json", is_flag=True, help="Write a JSON object, for programs.")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    url: str,
    channel: str | None,
    variable: str | None,
    silence_seconds: float | None,
    is_json: bool,
) -> None:
    """Look at the stream at URL, as a browser gets it, and say what is wrong on the way.

    Events are published by the application and must arrive through the proxy. Each finding names the line of
    configuration that fixes it.

    \b
    Exit codes: 0 no problem; 1 problems; 2 bad usage or settings.
    """  # noqa: D301 - \b is a sign for click
    try:
        address = Address.read(url)
        name = None if channel is None else check_channel(channel)
        application = Application()
    except (UsageError, KeyError) as error:
        raise click.UsageError(str(error.args[0])) from error
    patience = Patience(silence=silence_seconds)
    seen = examine(address, application, patience, name, _cookie(variable))
    findings = judge(seen)
    click.echo(as_json(seen, findings) if is_json else as_text(seen, findings))
    context.exit(int(any(finding.severity == "problem" for finding in findings)))


def _cookie(variable: str | None) -> str:
    if variable is None:
        return ""
    cookie = os.environ.get(variable, "")
    if not cookie or not cookie.isascii() or not cookie.isprintable():
        raise click.UsageError(f"the environment has no cookies in {variable}")
    return cookie
