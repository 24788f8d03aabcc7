"""The fixture ``sse_events`` beside other plugins of pytest: asyncio, and xdist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.patience import PATIENT_SECONDS

CONFIG = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = {scope}
filterwarnings = error
"""
ASYNC_TESTS = """
import asyncio

import pytest
from flask import Flask

from flask_sse import sse
from flask_sse.testing import event, open_stream

app = Flask("asynchronous")
app.register_blueprint(sse, url_prefix="/stream")

async def items():
    yield "one"
    await asyncio.sleep(0)
    yield "two"

app.add_url_rule("/answer", "answer", lambda: sse.response(items()))

def publish(data):
    with app.app_context():
        sse.publish(data)

@pytest.fixture
async def published(sse_events):
    publish("by a fixture")
    await asyncio.sleep(0)
    yield sse_events
    publish("by its end")

@pytest.mark.parametrize("number", range(3))
async def test_events(published, number):
    assert published == [event(data="by a fixture")]
    await asyncio.to_thread(publish, "by a thread")
    await asyncio.gather(*(asyncio.to_thread(publish, each) for each in "ab"))
    assert len(published) == 4

async def test_stream(sse_events):
    with open_stream(app.test_client(), "/stream") as stream:
        task = asyncio.create_task(asyncio.to_thread(publish, "x"))
        assert (await asyncio.to_thread(stream.next, timeout=PATIENT_SECONDS)).data == "x"
        await task
        sse_events.advance(60)
        assert stream.heartbeats >= 3
        stream.nothing()

async def test_response_and_run(sse_events):
    with open_stream(app.test_client(), "/answer") as stream:
        assert (await asyncio.to_thread(stream.next, timeout=PATIENT_SECONDS)).data == "one"
        assert (await asyncio.to_thread(stream.next, timeout=PATIENT_SECONDS)).data == "two"
    with app.app_context():
        channel = sse.run(items())
    with open_stream(app.test_client(), f"/stream?channel={channel}") as stream:
        await asyncio.to_thread(stream.next, "stream-end", timeout=PATIENT_SECONDS)
        assert stream.closed
    assert [each.data for each in sse_events.of(channel)][1:3] == ["one", "two"]

def test_that_is_not_async(sse_events):
    assert sse_events == []
""".replace("PATIENT_SECONDS", str(PATIENT_SECONDS))
PARALLEL_TESTS = """
import pytest
from flask import Flask

from flask_sse import sse
from flask_sse.testing import event, open_stream

app = Flask("parallel")
app.register_blueprint(sse, url_prefix="/stream")

@pytest.mark.parametrize("number", range(20))
def test_it(sse_events, number):
    with open_stream(app.test_client(), "/stream") as stream, app.app_context():
        assert sse.publish(number) == 1
        assert stream.next().json == number
        stream.nothing()
    assert sse_events == [event(data=number)]
"""


def passed(folder: Path, tests: str, *options: str) -> str:
    (folder / "test_it.py").write_text(tests)
    plugins = ["-p", "flask_sse.pytest_plugin", "-p", "no:cacheprovider"]
    argv = [sys.executable, "-m", "pytest", *plugins, *options, str(folder)]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("scope", ["function", "session"])
def test_pytest_asyncio(tmp_path: Path, scope: str) -> None:
    (tmp_path / "pytest.ini").write_text(CONFIG.format(scope=scope))
    assert "6 passed" in passed(tmp_path, ASYNC_TESTS, "-p", "pytest_asyncio.plugin")


def test_pytest_xdist(tmp_path: Path) -> None:
    shown = passed(tmp_path, PARALLEL_TESTS, "-p", "xdist", "-n", "2", "-W", "error")
    assert "20 passed" in shown
