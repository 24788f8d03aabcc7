"""Observations become findings, without a network: each limit between fine and wrong is tested here."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from tests.support.diagnosis import Diagnosis

from flask_sse.doctor import fixes
from flask_sse.doctor.observations import (
    AppSettings,
    IdlePeriod,
    Observations,
    OpenAttempt,
    ProbeEvent,
    printable,
)
from flask_sse.doctor.rules import apply_rules

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-cache, private, no-transform",
    "server": "nginx",
}
DENIED = OpenAttempt("random", is_probe_channel=True, status=403)
OPENED = replace(DENIED, status=200, has_ticket=True, headers=HEADERS, head_seconds=0.01, body_seconds=0.01)
ARRIVED = ProbeEvent(0.001, receivers=1, arrival_seconds=0.002, has_id=True)
LOST = ProbeEvent(0.001, receivers=1)
SETTINGS = AppSettings("redis", 15.0, None, "auto", keeps_history=True)
WELL = Observations(
    "https://example.com/stream",
    is_encrypted=True,
    is_local=False,
    settings=SETTINGS,
    protocol="h2",
    attempts=(DENIED, OPENED),
    probe_events=(ARRIVED,) * 5,
    first_messages=("stream-open",),
    idle=IdlePeriod(13.0, heartbeat_seconds=13.0),
)


def found(seen: Observations = WELL, **changes: Any) -> Diagnosis:
    """Apply the rules to these observations with changes, also of the last attempt and of the settings."""
    attempt = {field.name: changes.pop(field.name) for field in fields(OpenAttempt) if field.name in changes}
    settings = {field.name: changes.pop(field.name) for field in fields(AppSettings) if field.name in changes}
    seen = replace(seen, settings=replace(seen.settings, **settings), **changes)
    seen = replace(seen, attempts=(*seen.attempts[:-1], replace(seen.attempt, **attempt)))
    return Diagnosis(seen, apply_rules(seen))


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in HEADERS.items() if key != name}


def test_nothing_is_found_where_all_is_well() -> None:
    assert found().titles("problem", "warning") == []
    assert len(found().titles("fine")) == 11


def test_every_fault_has_a_reason_and_a_fix_and_what_is_fine_has_none() -> None:
    for finding in found(
        attempts=(OPENED,), ending="closed", probe_events=(), protocol="", is_encrypted=False
    ).findings:
        assert bool(finding.why) == bool(finding.hint) == (finding.severity != "fine")


def test_the_worst_comes_first() -> None:
    severities = [
        finding.severity for finding in found(protocol="http/1.1", status=404, probe_events=()).findings
    ]
    assert severities == ["problem", "warning", "fine"]


@pytest.mark.parametrize(
    ("changes", "title", "severity"),
    [
        ({"probe_events": (replace(ARRIVED, arrival_seconds=0.3),) * 5}, "Events arrive late", "warning"),
        ({"probe_events": (replace(ARRIVED, arrival_seconds=1.2),) * 5}, "Events arrive late", "problem"),
        ({"probe_events": (replace(ARRIVED, publish_seconds=0.4),) * 5}, "The broker is slow", "warning"),
        (
            {"probe_events": (replace(ARRIVED, arrival_seconds=4.0, was_flushed=True),) * 5},
            "Events are buffered",
            "problem",
        ),
        (
            {"probe_events": (ARRIVED, LOST)},
            "Events do not arrive",
            "problem",
        ),
        ({"probe_events": (replace(ARRIVED, has_id=False),) * 5}, "Events have no id", "warning"),
        ({"probe_events": (ProbeEvent(2.0, error="gone"),)}, "The broker does not accept events", "problem"),
        (
            {"probe_events": (ProbeEvent(2.0, error="gone"),), "broker": "memory"},
            "The hub does not accept events",
            "problem",
        ),
        (
            {"probe_events": (ARRIVED, LOST), "ending": "reset"},
            "The stream is disconnected early",
            "problem",
        ),
        ({"head_seconds": 2.0}, "The response headers are buffered", "problem"),
        ({"headers": {**HEADERS, "content-encoding": "br"}}, "The stream is compressed", "warning"),
        ({"headers": without("cache-control")}, "Cache-Control was changed", "warning"),
        ({"headers": {**HEADERS, "cache-control": "no-store"}}, "Cache-Control was changed", "warning"),
        ({"headers": {**HEADERS, "cache-control": "No-Transform"}}, "Cache-Control was changed", "warning"),
        ({"headers": without("server")}, "X-Accel-Buffering was removed", "warning"),
        ({"headers": {**HEADERS, "content-type": "text/plain"}}, "Content-Type was changed", "problem"),
        (
            {"attempts": (replace(OPENED, has_ticket=False),)},
            "Any client may listen to any channel",
            "warning",
        ),
        ({"attempts": (replace(DENIED, status=500), OPENED)}, "The access rule fails", "warning"),
        ({"idle": IdlePeriod(4.9, was_closed=True)}, "Idle streams time out", "problem"),
        ({"idle": IdlePeriod(18.0)}, "No heartbeat arrived", "warning"),
        ({"heartbeat_seconds": 120}, "Heartbeats are rare", "warning"),
        ({"protocol": "http/1.1"}, "HTTP/1.1", "warning"),
        ({"status": 400}, "The response is an error", "problem"),
        ({"status": 204}, "The stream has ended for good", "problem"),
        (
            {
                "status": 0,
                "ended_on_request": False,
                "probe_events": (LOST,),
            },
            "No response",
            "problem",
        ),
        ({"failure": "tls", "status": 0, "probe_events": ()}, "TLS fails", "problem"),
    ],
)
def test_each_fault_has_its_finding_and_no_other(changes: dict[str, Any], title: str, severity: str) -> None:
    diagnosis = found(**changes)
    assert diagnosis.titles("problem", "warning") == [title]
    assert diagnosis[title].severity == severity


def test_without_tls_a_browser_has_no_http_2_either() -> None:
    diagnosis = found(is_encrypted=False, protocol="")
    assert diagnosis.titles("problem", "warning") == ["No TLS", "HTTP/1.1"]
    assert found(is_encrypted=False, protocol="", is_local=True).titles("warning") == ["HTTP/1.1"]


def test_events_that_are_lost_under_compression_are_lost_to_it() -> None:
    diagnosis = found(headers={**HEADERS, "content-encoding": "br"}, probe_events=(LOST,) * 5)
    assert diagnosis.problems == ["Events are lost in compression"]


@pytest.mark.parametrize(
    ("ended_on_request", "broker", "why", "hint"),
    [
        (True, "redis", "a proxy drops its events", "nginx"),
        (None, "redis", "A proxy buffers them, or", "nginx"),
        (False, "redis", "that of another application", "Flask"),
        (False, "memory", "memory:// reaches one machine", "Flask"),
    ],
)
def test_what_never_comes_is_explained_by_whether_the_stream_could_be_ended(
    ended_on_request: bool | None, broker: str, why: str, hint: str
) -> None:
    finding = found(probe_events=(LOST,) * 5, ended_on_request=ended_on_request, broker=broker)[
        "Events do not arrive"
    ]
    assert why in finding.why
    assert hint in finding.hint


def test_a_stream_that_ends_at_the_age_that_is_set_is_well() -> None:
    diagnosis = found(idle=IdlePeriod(9.5, was_closed=True), max_stream_seconds=10)
    assert diagnosis.titles("problem", "warning") == []
    assert "The stream reached its age limit" in diagnosis.titles("fine")


@pytest.mark.parametrize(
    ("heartbeat_seconds", "timeout_seconds", "nginx", "flask"),
    [(15, 5.0, "60s", "2"), (40, 30.0, "120s", "15"), (15, 1.0, "60s", "0.5"), (15, 0.0, "60s", "0.1")],
)
def test_a_fix_of_a_timeout_is_longer_than_the_heartbeat_and_the_heartbeat_shorter_than_the_timeout(
    heartbeat_seconds: float, timeout_seconds: float, nginx: str, flask: str
) -> None:
    hint = fixes.idle_timeout(heartbeat_seconds, timeout_seconds)
    assert hint["nginx"] == (f"proxy_read_timeout {nginx};",)
    assert hint["Flask"] == (f'app.config["SSE_HEARTBEAT_SECONDS"] = {flask}',)


@pytest.mark.parametrize(
    ("headers", "hub", "takeover", "text"),
    [
        ({"server": "nginx"}, None, "auto", "takeover or relay cannot be seen through nginx; no hub"),
        ({"x-accel-buffering": "no"}, {"pid": 7, "streams": 2}, "auto", "cannot be seen from outside; hub 7"),
        ({"x-accel-buffering": "no", "server": "granian"}, {"pid": 7}, "auto", "relay: "),
        ({"server": "nginx"}, {"pid": 7, "streams": 2}, "off", "relay: "),
        ({"server": "nginx"}, {"pid": 7, "broker_away": True}, "auto", "which cannot reach its broker"),
    ],
)
def test_who_holds_the_stream_is_told_as_far_as_it_can_be(
    headers: dict[str, str], hub: dict[str, Any] | None, takeover: str, text: str
) -> None:
    diagnosis = found(headers={**without("server"), **headers}, hub=hub, takeover=takeover)
    assert text in diagnosis["Takeover or relay"].seen


@pytest.mark.parametrize(
    ("server", "takeover", "seen"),
    [
        ("gunicorn", "auto", "gunicorn"),
        ("nginx", "off", "SSE_TAKEOVER"),
        ("nginx", "auto", ""),
        ("", "auto", ""),
    ],
)
def test_a_relay_is_a_finding_of_its_own_and_a_missing_header_is_none(
    server: str, takeover: str, seen: str
) -> None:
    """(14.40) With what to do about a worker that is held by one page."""
    headers = {**HEADERS, "x-accel-buffering": "no", "server": server}
    diagnosis = found(headers={name: value for name, value in headers.items() if value}, takeover=takeover)
    assert diagnosis.titles("problem", "warning") == (["The web server relays streams"] if seen else [])
    if seen:
        assert seen in diagnosis["The web server relays streams"].seen
        assert "whole worker" in diagnosis["The web server relays streams"].why


def test_foreign_text_is_one_printable_line() -> None:
    assert printable("a\x1b[31m\r\nb\u202e\ud800ü") == "a?[31m??b??ü"
    assert len(printable("x" * 10_000)) == 203
