"""Rows of the page on moving from 1.0, with 1.0 and with this release."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process
from tests.support.tools import require
from tests.tools import ROOT

from flask_sse.version import __version__

STORY = """
import json, sys
import warnings

import flask_sse
from flask import Flask, render_template_string

app = Flask("app", root_path=".")
app.config["REDIS_URL"] = "redis://127.0.0.1:1"
app.config["SSE_OF_MY_OWN"] = "value"

def kind_of_error(act):
    try:
        act()
    except Exception as error:
        return [kind.__name__ for kind in type(error).__mro__[:-1]]

with warnings.catch_warnings(record=True) as warned, app.test_request_context():
    warnings.simplefilter("always")
    app.register_blueprint(flask_sse.sse, url_prefix="/stream")
    print(json.dumps({
        "version": getattr(flask_sse, "__version__", None),
        "no JSON": kind_of_error(lambda: str(flask_sse.Message(object()))),
        "away": kind_of_error(lambda: flask_sse.sse.publish("data")),
        "in templates": render_template_string("{{ sse is defined }}"),
        "of the view": render_template_string("{{ sse }}", sse="mine"),
        "id": flask_sse.Message("data", id=0).to_dict(),
        "warned": [str(each.message) for each in warned if "SSE_" in str(each.message)],
    }))
"""
CLI = """
from flask import Flask
from flask_sse import sse

@sse.cli.command("mine")
def mine():
    print("mine ran")

app = Flask("app")
app.config["SSE_BROKER_URL"] = "memory://upgrade"
app.register_blueprint(sse, url_prefix="/stream", **{options})
"""


def told(folder: str | Path) -> dict[str, object]:
    """Return what an application finds out with the Flask-SSE of a folder."""
    with Process([sys.executable, "-W", "ignore", "-c", STORY], {"PYTHONPATH": str(folder)}) as script:
        assert script.wait(PATIENT_SECONDS) == 0, script.output()
        result: dict[str, object] = json.loads(script.output())
        return result


def test_1_0_did_what_the_page_says_of_it() -> None:
    of_1_0 = told(require("flask-sse-1.0"))
    away = of_1_0.pop("away")
    assert isinstance(away, list)
    assert away[0] == "ConnectionError"
    assert of_1_0 == {
        "version": "1.0.0",
        "no JSON": ["TypeError", "Exception", "BaseException"],
        "in templates": "False",
        "of the view": "mine",
        "id": {"data": "data"},
        "warned": [],
    }


def test_this_release_does_what_the_page_says_of_it(runtime_directory: str) -> None:
    of_2 = told(ROOT / "src")
    for key, error, base in (
        ("no JSON", "InvalidMessageError", "ValueError"),
        ("away", "BrokerUnavailableError", "SSEError"),
    ):
        kinds = of_2.pop(key)
        assert isinstance(kinds, list)
        assert error in kinds
        assert base in kinds
    warned = of_2.pop("warned")
    assert "SSE_OF_MY_OWN" in str(warned)
    assert of_2 == {
        "version": __version__,
        "in templates": "True",
        "of the view": "mine",
        "id": {"data": "data", "id": 0},
    }


@pytest.mark.parametrize(
    ("options", "group", "is_there"), [("{}", "sse", False), ("{'cli_group': 'my-sse'}", "my-sse", True)]
)
def test_commands_of_your_own_need_another_group(
    options: str, group: str, is_there: bool, tmp_path: Path, runtime_directory: str
) -> None:
    (tmp_path / "app.py").write_text(CLI.replace("{options}", options))
    with Process([sys.executable, "-m", "flask", group, "mine"], cwd=tmp_path) as command:
        command.wait(PATIENT_SECONDS)
        assert ("mine ran" in command.output()) == is_there, command.output()


def test_the_page_begins_with_what_behaves_differently() -> None:
    # 14.44
    page = (ROOT / "docs" / "upgrade.rst").read_text()
    headings = re.findall(r"^(.+)\n-{5,}$", page, re.MULTILINE)
    assert headings[:2] == ["What behaves differently", "What is rejected now"]
    assert "You have to change something if" in page.partition(headings[0])[0]
