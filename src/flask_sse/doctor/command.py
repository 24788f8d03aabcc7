"""The command ``flask sse doctor``; it runs in the context of the application."""

from __future__ import annotations

import os

import click

from ..channels import check_channel
from ..errors import UsageError
from .application import Application
from .report import as_json, as_text
from .rules import apply_rules
from .stream_url import StreamURL


@click.argument("url")
@click.option(
    "--channel",
    metavar="NAME",
    help="Listen to this channel if a random one is denied. By default the one in the URL.",
)
@click.option(
    "--cookie-from-env",
    "variable",
    metavar="NAME",
    help="Send the cookies in this environment variable, those of a user with access.",
)
@click.option(
    "--wait",
    "idle_seconds",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600),
    help="Observe the idle stream for this time. By default until the first heartbeat.",
)
@click.option("--json", "is_json", is_flag=True, help="Write a JSON object, for programs.")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    url: str,
    channel: str | None,
    variable: str | None,
    idle_seconds: float | None,
    is_json: bool,
) -> None:
    """Open the stream at URL as a browser does, and report what is wrong on the way.

    The application publishes events, which must arrive through the proxy. Each finding has the line of
    configuration that fixes it. Needs h11: pip install 'Flask-SSE[doctor]'.

    \b
    Exit codes: 0 no problem; 1 problems; 2 bad usage or settings, or h11 is missing.
    """  # noqa: D301 - \b is markup of click
    try:
        from .probe import Timeouts, probe_stream  # noqa: PLC0415 - it loads h11, an optional extra
    except ModuleNotFoundError as error:
        if error.name != "h11":
            raise
        raise click.UsageError("flask sse doctor needs h11: pip install 'Flask-SSE[doctor]'") from error
    try:
        stream_url = StreamURL.parse(url)
        name = None if channel is None else check_channel(channel)
        application = Application()
    except (UsageError, KeyError) as error:
        raise click.UsageError(str(error.args[0])) from error
    seen = probe_stream(stream_url, application, Timeouts(idle=idle_seconds), name, _cookie(variable))
    findings = apply_rules(seen)
    click.echo(as_json(seen, findings) if is_json else as_text(seen, findings))
    context.exit(int(any(finding.severity == "problem" for finding in findings)))


def _cookie(variable: str | None) -> str:
    if variable is None:
        return ""
    cookie = os.environ.get(variable, "").strip()
    if not cookie or not cookie.isascii() or not cookie.isprintable():
        raise click.UsageError(f"the environment variable {variable} has no cookies")
    return cookie
