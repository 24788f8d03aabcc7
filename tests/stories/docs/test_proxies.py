"""Caddy and Traefik: a real Caddy passes events on at once, and the files of Traefik fit each other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import Page
from tests.stories.docs.snippets import DOCS, FlaskRun, at_port, lay, post, read
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, free_port
from tests.support.tools import require
from tests.support.webservers import make_certificate

CADDYFILE = "caddy/Caddyfile"
STATIC, DYNAMIC = "traefik/traefik.yaml", "traefik/shop.yaml"
# What a test changes: the name, the certificate, and where Caddy is told to reload.
ADDRESS_SHOWN = "shop.example {"
GLOBAL_OPTIONS = "{{\n\tadmin unix/{folder}/admin.sock\n\tauto_https disable_redirects\n}}\n"
# An answer of the same type that says nothing of compression, long enough to be worth it.
PLAIN = """
from app import app

@app.get("/plain")
def plain():
    return "data:tea\\n\\n" * 100, {"Content-Type": "text/event-stream; charset=utf-8"}
"""
# What makes the first piece of a stream long enough to be compressed.
GOALS_BEFORE = 20
AS_EVENT_SOURCE = {"Accept": "text/event-stream"}


@dataclass(frozen=True)
class Caddy:
    """A running Caddy in front of an application.

    Attributes:
        url: Its address, with TLS.
        app_url: That of the application behind it.
        program: The program.
        folder: Where its configuration is.
    """

    url: str
    app_url: str
    program: Path
    folder: Path

    def reload(self) -> None:
        """Let it read its file again, which says something else now."""
        file = self.folder / "Caddyfile"
        file.write_text(file.read_text().replace("zstd gzip", "zstd"))
        address = f"unix/{self.folder}/admin.sock"
        argv: list[str | Path] = [
            self.program,
            "reload",
            "--config",
            file,
            "--adapter",
            "caddyfile",
            "--address",
            address,
        ]
        subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def caddy(tmp_path: Path, runtime_directory: str) -> Iterator[Caddy]:
    """Caddy with the file of the page."""
    program = require("caddy")
    make_certificate(tmp_path)
    lay(tmp_path, {"app.py": "channels/app.py"})
    (tmp_path / "with_plain.py").write_text(PLAIN)
    with FlaskRun(tmp_path, {"FLASK_APP": "with_plain"}) as server:
        port = free_port()
        site = at_port(read(CADDYFILE), int(server.url.rpartition(":")[2]))
        assert ADDRESS_SHOWN in site
        site = site.replace(
            ADDRESS_SHOWN, f"https://localhost:{port} {{\n\ttls {tmp_path}/certificate.pem {tmp_path}/key.pem"
        )
        file = tmp_path / "Caddyfile"
        file.write_text(GLOBAL_OPTIONS.format(folder=tmp_path) + site)
        home = {name: str(tmp_path) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        argv: list[str | Path] = [program, "run", "--config", file, "--adapter", "caddyfile"]
        with Process(argv, home, tmp_path, port):
            yield Caddy(f"https://localhost:{port}", server.url, program, tmp_path)


@contextmanager
def browser_like(encoding: str) -> Iterator[httpx.Client]:
    """A client that speaks HTTP/2 and takes compressed answers, as browsers do."""
    headers = {"Accept-Encoding": encoding}
    with httpx.Client(http2=True, verify=False, headers=headers, timeout=PATIENT_SECONDS) as client:
        yield client


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_caddy_passes_events_on_at_once_over_http_2_and_does_not_compress_them(
    encoding: str, caddy: Caddy
) -> None:
    for _ in range(GOALS_BEFORE):
        assert post(f"{caddy.app_url}/goal/7") == 204
    with browser_like(encoding) as client:
        # It compresses, event streams too, so it is worth something that ours is left out.
        assert client.get(f"{caddy.url}/plain").headers["Content-Encoding"] == encoding
        path = "/stream?channel=game-7&last_event_id=earliest"
        with client.stream("GET", f"{caddy.url}{path}", headers=AS_EVENT_SOURCE) as stream:
            assert stream.http_version == "HTTP/2"
            assert "Content-Encoding" not in stream.headers
            lines = stream.iter_lines()
            for _ in range(GOALS_BEFORE):
                assert 'data:{"game": "7"}' in lines
            for _ in range(2):
                assert post(f"{caddy.app_url}/goal/7") == 204
                assert 'data:{"game": "7"}' in lines


def test_a_browser_keeps_its_stream_while_caddy_reloads(caddy: Caddy, chromium: Page) -> None:
    chromium.goto(f"{caddy.url}/plain")
    chromium.evaluate("""
        window.opened = window.goals = 0;
        const source = new EventSource("/stream?channel=game-7");
        source.onopen = () => { window.opened += 1; };
        source.addEventListener("goal", () => { window.goals += 1; });
    """)
    chromium.wait_for_function("window.opened === 1")
    caddy.reload()
    with browser_like("gzip") as client:
        assert "Content-Encoding" not in client.get(f"{caddy.url}/plain").headers
    assert post(f"{caddy.app_url}/goal/7") == 204
    chromium.wait_for_function("window.goals === 1")
    assert chromium.evaluate("window.opened") == 1


def test_the_files_of_traefik_are_yaml_and_fit_each_other() -> None:
    static: dict[str, Any] = yaml.safe_load(read(STATIC))
    http: dict[str, Any] = yaml.safe_load(read(DYNAMIC))["http"]
    [router] = http["routers"].values()
    assert set(router["entryPoints"]) <= static["entryPoints"].keys()
    assert set(router["middlewares"]) <= http["middlewares"].keys()
    assert router["service"] in http["services"]
    resolver = static["entryPoints"]["websecure"]["http"]["tls"]["certResolver"]
    assert resolver in static["certificatesResolvers"]
    assert Path(static["providers"]["file"]["filename"]).name == Path(DYNAMIC).name
    assert http["middlewares"]["compress"]["compress"]["excludedContentTypes"] == ["text/event-stream"]


def test_the_page_on_traefik_says_that_it_was_not_run() -> None:
    assert "were read by a parser of YAML only" in (DOCS / "howto" / "traefik.rst").read_text()
