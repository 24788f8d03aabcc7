"""A hub's log says each thing often enough, and of a crash all that helps to find its cause."""

from __future__ import annotations

import logging

import pytest

from flask_sse.hub.server import hub_log
from flask_sse.hub.server.hub_log import HubLog, log_crash


@pytest.fixture
def log() -> HubLog:
    return HubLog(lambda: {"streams": 7})


def test_a_topic_is_logged_once_per_minute_and_does_not_hide_another(
    log: HubLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("flask_sse.hub.server.hub_log.time.monotonic", lambda: now)
    with caplog.at_level(logging.INFO):
        for seconds in (0.0, 0.0, 59.0, 60.0):
            now = 1000.0 + seconds
            log.throttled_warning("limit", "full: %d", 3)
            log.throttled_info("linger", "alone")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "full: 3"),
        ("INFO", "alone"),
    ] * 2


def test_a_crash_report_has_the_error_the_work_and_the_counts(
    log: HubLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.doing = ("deliver", "caf\xe9")
    for _ in range(2):
        try:
            raise ZeroDivisionError("nothing by nothing")
        except ZeroDivisionError as error:
            log.crash(error)
    log.doing = ("page", "caf\xe9")
    log.crash(ZeroDivisionError("again"))
    first, other = (record.getMessage() for record in caplog.records)
    assert first.startswith("crash report: ZeroDivisionError: nothing by nothing\n")
    assert "  doing: 'deliver' 'caf\\xe9'\n  status: streams=7\n" in first
    assert "Traceback" in first
    assert "doing: 'page'" in other, "of another kind"


def test_where_a_report_takes_memory_that_is_not_there_a_line_is_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise MemoryError

    monkeypatch.setattr(hub_log, "crash_report", fail)
    log_crash(hub_log.logger, None, "tick", {})
    assert caplog.messages == ["crash report: out of memory"]
