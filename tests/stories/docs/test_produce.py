"""The snippets on generators and on seeing do what the pages say."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from prometheus_client.parser import text_string_to_metric_families
from tests.stories.docs.snippets import DOCS, FlaskRun, lay, post, read, run
from tests.support.brokers import Broker
from tests.support.client import StreamClient, get
from tests.support.processes import Process
from tests.support.webservers import SCRIPTS

from flask_sse import new_run
from flask_sse.metrics import _COUNTERS, _GAUGES

pytestmark = pytest.mark.usefixtures("runtime_directory")


def test_a_response_has_the_words_of_the_generator(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "produce/response.py"})
    with FlaskRun(tmp_path) as server, StreamClient(server.port, "/answer?question=hubs") as stream:
        assert stream.wait_closed() == "eof"
        words = [event.data for event in stream.events(5)]
        assert words == ["Tell", "me", "more", "of", "hubs"]


def test_a_generator_opens_its_own_connection_and_has_the_user_of_the_view(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "produce/database.py"})
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as db, db:
        db.execute("CREATE TABLE orders (user, item, price)")
        db.executemany("INSERT INTO orders VALUES (?, ?, ?)", [("ann", "tea", 3), ("bob", "cake", 5)])
    with FlaskRun(tmp_path) as server, StreamClient(server.port, "/export") as stream:
        assert stream.wait_closed() == "eof"
        row, end = stream.events(2)
        assert json.loads(row.data) == {"item": "tea", "price": 3}
        assert json.loads(end.data) == {"reason": "finished"}


def test_a_page_follows_a_run_and_any_process_cancels_it(tmp_path: Path, chromium: Page) -> None:
    lay(tmp_path, {"app.py": "produce/run.py", "static/page.html": "produce/page.html"})
    with FlaskRun(tmp_path) as server:
        channel = chromium.request.post(f"{server.url}/exports").json()["channel"]
        chromium.goto(f"{server.url}/static/page.html#{channel}")
        expect(chromium.locator("output")).to_have_text("finished")
        expect(chromium.locator("progress")).to_have_js_property("value", 1000)

        channel = new_run()
        chromium.goto("about:blank")
        chromium.goto(f"{server.url}/static/page.html#{channel}")
        expect(chromium.locator("output")).to_have_text("waiting")
        assert post(f"{server.url}/exports/{channel}/cancel") == 204
        expect(chromium.locator("output")).to_have_text("cancelled")


def test_an_order_is_told_of_when_it_is_committed(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "transactions/app.py"})
    with FlaskRun(tmp_path) as server, StreamClient(server.port, "/stream") as stream:
        stream.wait_opened()
        for item, status in (("tea", 204), ("nothing", 500), ("cake", 204)):
            assert post(f"{server.url}/orders/{item}") == status
        told = [json.loads(event.data) for event in stream.events(2)]
        assert told == [{"id": 1, "item": "tea"}, {"id": 2, "item": "cake"}]


def test_a_job_produces_for_pages_of_the_application(
    valkey: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BROKER_URL", valkey.url)
    job = run("produce/job.py")
    (tmp_path / "app.py").write_text(read("produce/run.py").replace("memory://", valkey.url))
    channel = new_run()
    with FlaskRun(tmp_path) as server, StreamClient(server.port, f"/stream?channel={channel}") as stream:
        job["export"](channel, 2)
        job["publisher"].close()
        assert stream.wait_closed() == "eof"
        assert [event.data for event in stream.events(3)] == ["", '{"row": 0}', '{"row": 1}']


def test_an_application_is_seen_by_balancers_by_prometheus_and_by_its_operators_alone(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "see/app.py", "wsgi.py": "see/prometheus.py"})
    with FlaskRun(tmp_path, {"FLASK_APP": "wsgi"}) as server:
        for path in ("/healthz", "/readyz"):
            answer = get(server.port, path)
            assert answer.status == 200
            assert json.loads(answer.body)["status"] == "ok"
        assert get(server.port, "/live/").status == 403
        families = text_string_to_metric_families(get(server.port, "/internal/metrics").body.decode())
        names = {sample.name for family in families for sample in family.samples}
        page = (DOCS / "howto" / "see.rst").read_text()
        assert [name for name in sorted(names) if f"``{name}``" not in page] == []


def test_the_page_on_seeing_names_every_metric_that_there_is() -> None:
    page = (DOCS / "howto" / "see.rst").read_text()
    for gauge in _GAUGES.values():
        assert f"``{gauge.name}``" in page
    for counter in _COUNTERS.values():
        assert f"``{counter.name}_total``" in page


def test_the_commands_show_how_it_is(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "see/app.py"})
    for line in read("see/commands.sh").splitlines():
        program, *words = line.split()
        assert program == "flask"
        with Process([SCRIPTS / program, *words], {}, tmp_path) as process:
            process.wait_for_line('"streams": 0' if "--json" in words else "0 open on 0 channels")
