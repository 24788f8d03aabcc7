"""What was seen becomes findings, without a network: each line between well and ill is drawn here."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from tests.support.patients import Diagnosis

from flask_sse.doctor import fixes
from flask_sse.doctor.judge import judge
from flask_sse.doctor.observations import Door, Facts, Mark, Observations, Silence, printable

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-cache, private, no-transform",
    "server": "nginx",
}
REFUSED = Door("made-up", is_own=True, status=403)
DOOR = Door(
    "made-up", is_own=True, has_ticket=True, status=200, headers=HEADERS, head_seconds=0.01, body_seconds=0.01
)
MARK = Mark(0.001, receivers=1, arrival_seconds=0.002, has_id=True)
FACTS = Facts("redis", 15.0, None, "auto", keeps_history=True)
WELL = Observations(
    "https://example.com/stream",
    is_encrypted=True,
    is_this_machine=False,
    facts=FACTS,
    protocol="h2",
    doors=(REFUSED, DOOR),
    marks=(MARK,) * 5,
    said=("stream-open",),
    silence=Silence(13.0, heartbeat_seconds=13.0),
)


def found(seen: Observations = WELL, **changes: Any) -> Diagnosis:
    """Judge what was seen, with changes; those of the door and of what is set are found by their names."""
    door = {field.name: changes.pop(field.name) for field in fields(Door) if field.name in changes}
    facts = {field.name: changes.pop(field.name) for field in fields(Facts) if field.name in changes}
    seen = replace(seen, facts=replace(seen.facts, **facts), **changes)
    seen = replace(seen, doors=(*seen.doors[:-1], replace(seen.door, **door)))
    return Diagnosis(seen, judge(seen))


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in HEADERS.items() if key != name}


def test_nothing_is_found_where_all_is_well() -> None:
    assert found().titles("problem", "warning") == []
    assert len(found().titles("fine")) == 11


def test_every_fault_has_a_reason_and_a_mend_and_what_is_fine_has_none() -> None:
    for finding in found(doors=(DOOR,), ending="closed", marks=(), protocol="", is_encrypted=False).findings:
        assert bool(finding.why) == bool(finding.hint) == (finding.severity != "fine")


def test_the_worst_comes_first() -> None:
    severities = [finding.severity for finding in found(protocol="http/1.1", status=404, marks=()).findings]
    assert severities == ["problem", "warning", "fine"]


@pytest.mark.parametrize(
    ("changes", "title", "severity"),
    [
        ({"marks": (replace(MARK, arrival_seconds=0.3),) * 5}, "Events arrive late", "warning"),
        ({"marks": (replace(MARK, arrival_seconds=1.2),) * 5}, "Events arrive late", "problem"),
        ({"marks": (replace(MARK, publish_seconds=0.4),) * 5}, "The broker is slow", "warning"),
        (
            {"marks": (replace(MARK, arrival_seconds=4.0, was_flushed=True),) * 5},
            "Events are held back",
            "problem",
        ),
        ({"marks": (MARK, replace(MARK, arrival_seconds=None))}, "Events do not arrive", "problem"),
        ({"marks": (replace(MARK, has_id=False),) * 5}, "Events have no id", "warning"),
        ({"marks": (Mark(2.0, error="gone"),)}, "The broker does not take events", "problem"),
        (
            {"marks": (Mark(2.0, error="gone"),), "broker": "memory"},
            "The hub does not take events",
            "problem",
        ),
        (
            {"marks": (MARK, replace(MARK, arrival_seconds=None)), "ending": "reset"},
            "The stream broke off",
            "problem",
        ),
        ({"head_seconds": 2.0}, "The head of the answer is held back", "problem"),
        ({"headers": {**HEADERS, "content-encoding": "br"}}, "The stream is compressed", "warning"),
        ({"headers": without("cache-control")}, "Cache-Control was changed", "warning"),
        ({"headers": {**HEADERS, "cache-control": "no-store"}}, "Cache-Control was changed", "warning"),
        ({"headers": {**HEADERS, "cache-control": "No-Transform"}}, "Cache-Control was changed", "warning"),
        ({"headers": without("server")}, "X-Accel-Buffering was dropped", "warning"),
        ({"headers": {**HEADERS, "content-type": "text/plain"}}, "The Content-Type was changed", "problem"),
        ({"doors": (replace(DOOR, has_ticket=False),)}, "Everybody may listen to every channel", "warning"),
        ({"doors": (replace(REFUSED, status=500), DOOR)}, "The rule of access fails", "warning"),
        ({"silence": Silence(4.9, was_cut=True)}, "Quiet streams are cut", "problem"),
        ({"silence": Silence(18.0)}, "No heartbeat came", "warning"),
        ({"heartbeat_seconds": 120}, "Heartbeats are rare", "warning"),
        ({"protocol": "http/1.1"}, "HTTP/1.1", "warning"),
        ({"status": 400}, "The request is not answered with a stream", "problem"),
        ({"status": 204}, "The stream is over for good", "problem"),
        (
            {"status": 0, "ended_when_asked": False, "marks": (replace(MARK, arrival_seconds=None),)},
            "No answer",
            "problem",
        ),
        ({"failure": "tls", "status": 0, "marks": ()}, "TLS fails", "problem"),
    ],
)
def test_each_fault_has_its_finding_and_no_other(changes: dict[str, Any], title: str, severity: str) -> None:
    diagnosis = found(**changes)
    assert diagnosis.titles("problem", "warning") == [title]
    assert diagnosis[title].severity == severity


def test_without_tls_a_browser_has_no_http_2_either() -> None:
    diagnosis = found(is_encrypted=False, protocol="")
    assert diagnosis.titles("problem", "warning") == ["No TLS", "HTTP/1.1"]
    assert found(is_encrypted=False, protocol="", is_this_machine=True).titles("warning") == ["HTTP/1.1"]


def test_events_that_are_lost_under_compression_are_lost_to_it() -> None:
    lost = (replace(MARK, arrival_seconds=None),) * 5
    diagnosis = found(headers={**HEADERS, "content-encoding": "br"}, marks=lost)
    assert diagnosis.problems == ["Events are lost in compression"]


@pytest.mark.parametrize(
    ("ended_when_asked", "broker", "why", "hint"),
    [
        (True, "redis", "something on the way drops its events", "nginx"),
        (None, "redis", "A proxy holds them back, or", "nginx"),
        (False, "redis", "that of another application", "Flask"),
        (False, "memory", "memory:// reaches one machine", "Flask"),
    ],
)
def test_what_never_comes_is_explained_by_whether_the_stream_could_be_ended(
    ended_when_asked: bool | None, broker: str, why: str, hint: str
) -> None:
    lost = (replace(MARK, arrival_seconds=None),) * 5
    finding = found(marks=lost, ended_when_asked=ended_when_asked, broker=broker)["Events do not arrive"]
    assert why in finding.why
    assert hint in finding.hint


def test_a_stream_that_ends_at_the_age_that_is_set_is_well() -> None:
    diagnosis = found(silence=Silence(9.5, was_cut=True), max_stream_seconds=10)
    assert diagnosis.titles("problem", "warning") == []
    assert "The stream ended at its age" in diagnosis.titles("fine")


@pytest.mark.parametrize(
    ("heartbeat_seconds", "cut_seconds", "nginx", "flask"),
    [(15, 5.0, "60s", "2"), (40, 30.0, "120s", "15"), (15, 1.0, "60s", "0.5"), (15, 0.0, "60s", "0.1")],
)
def test_a_mend_of_a_cut_is_longer_than_the_heartbeat_and_the_heartbeat_shorter_than_the_cut(
    heartbeat_seconds: float, cut_seconds: float, nginx: str, flask: str
) -> None:
    hint = fixes.outlast(heartbeat_seconds, cut_seconds)
    assert hint["nginx"] == (f"proxy_read_timeout {nginx};",)
    assert hint["Flask"] == (f'app.config["SSE_HEARTBEAT_SECONDS"] = {flask}',)


@pytest.mark.parametrize(
    ("headers", "hub", "takeover", "text"),
    [
        ({"server": "nginx"}, None, "auto", "takeover or relay cannot be told through nginx; no hub"),
        ({"x-accel-buffering": "no"}, {"pid": 7, "streams": 2}, "auto", "cannot be told from outside; hub 7"),
        ({"x-accel-buffering": "no", "server": "granian"}, {"pid": 7}, "auto", "relay: "),
        ({"server": "nginx"}, {"pid": 7, "streams": 2}, "off", "relay: "),
        ({"server": "nginx"}, {"pid": 7, "broker_away": True}, "auto", "which does not reach its broker"),
    ],
)
def test_who_holds_the_stream_is_told_as_far_as_it_can_be(
    headers: dict[str, str], hub: dict[str, Any] | None, takeover: str, text: str
) -> None:
    diagnosis = found(headers={**without("server"), **headers}, hub=hub, takeover=takeover)
    assert text in diagnosis["Who holds the stream"].seen


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
