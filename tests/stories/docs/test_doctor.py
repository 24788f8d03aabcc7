"""The page on the doctor shows commands that are taken and a report that is written."""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Iterator

import pytest
from tests.stories.docs.snippets import DOCS, read
from tests.support.local import LocalServer, serve
from tests.support.nginx import Nginx

from flask_sse import ServerSentEventsBlueprint
from flask_sse.commands import sse_group

PAGE = (DOCS / "reference" / "command-line.rst").read_text().partition("\nflask sse doctor\n")[2]
SHOWN_URL = "https://example.com/stream"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    blueprint = ServerSentEventsBlueprint("guarded", __name__)
    blueprint.add_url_rule(rule="", endpoint="stream", view_func=blueprint.stream)
    blueprint.authorize(lambda channel: False)
    config = {"SECRET_KEY": "not a secret", "SSE_HUB": "thread", "SSE_HEARTBEAT_SECONDS": 0.5}
    with serve(blueprint, SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", **config) as running:
        yield running


@pytest.mark.parametrize("name", ["doctor/run.sh", "doctor/cookie.sh", "doctor/deploy.sh"])
def test_the_commands_are_taken(name: str, server: LocalServer) -> None:
    line = read(name).splitlines()[-1].partition(" >")[0]
    url = f"http://127.0.0.1:{server.port}/stream"
    flask, app, _, group, *words = shlex.split(line.replace(SHOWN_URL, url))
    assert (flask, app, group) == ("flask", "--app", "sse")
    result = server.app.test_cli_runner().invoke(sse_group, words, env={"COOKIE": "session=x"})
    assert result.exit_code == 0, result.output


def test_the_report_is_what_the_command_writes(server: LocalServer) -> None:
    location = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
    with Nginx(server.port, location=location) as nginx:
        runner = server.app.test_cli_runner()
        result = runner.invoke(sse_group, ["doctor", f"{nginx.url}/stream"])
    assert result.exit_code == 1
    assert without_figures(result.stdout) == without_figures(read("doctor/report.txt"))


def test_the_exit_codes_are_those_of_the_help(server: LocalServer) -> None:
    output = server.app.test_cli_runner().invoke(sse_group, ["doctor", "--help"]).output
    said = "; ".join(
        f"{code} {meaning}" for code, meaning in re.findall(r"^:(\d): (.+)$", PAGE, re.MULTILINE)
    )
    assert f"Exit codes: {said}." in " ".join(output.split())


def without_figures(report: str) -> str:
    """Return a report without what differs from run to run: times, ports, versions, and where lines wrap."""
    report = re.sub(r"\d+\.\d+ m?s\b", "TIME", report)
    report = re.sub(r"127\.0\.0\.1:\d+/", "HOST/", report)
    report = re.sub(r"nginx/[\d.]+", "nginx", report)
    return " ".join(report.split())
