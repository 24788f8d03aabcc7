"""Each fault that is planted on the way is found, and named together with what fixes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import session
from tests.support.brokers import Broker
from tests.support.diagnosis import CALM, HURRY, Diagnosis, diagnose
from tests.support.local import LocalServer
from tests.support.nginx import Nginx
from tests.support.patience import patient
from tests.support.processes import free_port
from tests.support.proxy import Proxy
from tests.support.scripted import ScriptedServer, tampering

from flask_sse import ServerSentEventsBlueprint
from flask_sse.doctor.probe import Timeouts

Start = Callable[..., LocalServer]
# Where nothing is wrong but what every stream of these tests has: it has no access rule, and it has no TLS.
USUAL = ["Any client may listen to any channel", "HTTP/1.1"]


def behind_nginx(server: LocalServer, location: str = "", timeouts: Timeouts = CALM) -> Diagnosis:
    with Nginx(server.port, "1.1", location) as nginx:
        return diagnose(server.app, f"{nginx.url}/stream", timeouts)


# -- nothing planted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("takeover", ["auto", "off"])
def test_a_stream_without_a_proxy_is_well(start: Start, takeover: str) -> None:
    server = start(SSE_TAKEOVER=takeover)
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream")
    assert found.problems == []
    relayed = [] if takeover == "auto" else ["The web server relays streams"]
    assert found.titles("warning") == [*USUAL, *relayed]
    assert "X-Accel-Buffering is forwarded" in found.titles("fine")
    held = "takeover or relay cannot be seen" if takeover == "auto" else "relay"
    assert found["Takeover or relay"].seen.startswith(held)
    assert found["Idle streams stay open"].seen.startswith("first bytes after")
    assert "stream-open" in found["Pages receive missed events"].seen


def test_nginx_with_its_own_settings_is_well(start: Start) -> None:
    found = behind_nginx(start())
    assert found.problems == []
    assert found.titles("warning") == USUAL
    assert "nginx applied X-Accel-Buffering" in found.titles("fine")
    assert "5" in found["Events arrive at once"].seen


def test_a_stream_through_redis_is_well_and_its_latency_is_told(start: Start, valkey: Broker) -> None:
    found = behind_nginx(start(SSE_BROKER_URL=valkey.url))
    assert found.problems == []
    assert found["The broker accepts events"].seen.startswith("redis: median ")


def test_a_channel_without_history_is_well_and_said_to_have_none(start: Start) -> None:
    found = behind_nginx(start(SSE_HISTORY_SIZE=0))
    assert found.titles("problem", "warning") == USUAL
    assert "No history is kept" in found.titles("fine")


# -- events ----------------------------------------------------------------------------------------------


def test_buffering_that_ignores_the_header_is_found(start: Start) -> None:
    found = behind_nginx(start(), "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;", HURRY)
    assert found.problems == ["Events are buffered"]
    assert (
        "0 of 5 arrived while the stream was open, 5 only when it was ended"
        in found["Events are buffered"].seen
    )
    assert "proxy_buffering off;" in found["Events are buffered"].hint["nginx"]


def test_an_event_that_waits_in_a_slow_line_is_late(start: Start) -> None:
    server = start()
    with Proxy(server.port) as proxy:
        proxy.latency(0.35, direction="downstream")
        found = diagnose(server.app, f"http://127.0.0.1:{proxy.port}/stream")
    assert found.problems == []
    assert found["Events arrive late"].severity == "warning"


def test_compression_is_found_though_events_come_in_time(start: Start) -> None:
    found = behind_nginx(start(), "gzip on; gzip_types text/event-stream;")
    assert found.problems == []
    assert found["The stream is compressed"].severity == "warning"
    assert found["The stream is compressed"].seen == "Content-Encoding: gzip"
    assert "5" in found["Events arrive at once"].seen
    assert any("gzip off;" in line for line in found["The stream is compressed"].hint["nginx"])


def test_a_head_that_waits_for_the_first_events_is_held_back(start: Start) -> None:
    server = start()
    timeouts = replace(HURRY, head=1.6, arrival=1)
    # More than the head and what every stream says first.
    with ScriptedServer(tampering(server.port, holds_bytes=600)) as proxy:
        found = diagnose(server.app, f"{proxy.url}/stream", timeouts)
    assert found.problems == ["The response headers are buffered"]
    assert all(mark.in_time for mark in found.seen.probe_events)


def test_a_proxy_that_waits_for_much_data_holds_head_and_events_back(start: Start) -> None:
    server = start()
    with ScriptedServer(tampering(server.port, holds_bytes=100_000)) as proxy:
        found = diagnose(server.app, f"{proxy.url}/stream", replace(HURRY, head=1.6))
    assert found.problems == ["Events are buffered"]
    assert "the response headers arrived after" in found["Events are buffered"].seen


# -- silence ---------------------------------------------------------------------------------------------


def test_a_read_timeout_of_five_seconds_is_found_without_options(start: Start) -> None:
    found = behind_nginx(start(SSE_HEARTBEAT_SECONDS=15), "proxy_read_timeout 5s;")
    assert found.problems == ["Idle streams time out"]
    cut = found["Idle streams time out"]
    assert found.seen.idle is not None
    assert 4 < found.seen.idle.seconds < patient(5)
    assert cut.hint["nginx"] == ("proxy_read_timeout 60s;",)
    assert cut.hint["Flask"] == ('app.config["SSE_HEARTBEAT_SECONDS"] = 2',)


def test_a_wait_that_is_shorter_than_a_heartbeat_finds_nothing(start: Start) -> None:
    found = behind_nginx(start(SSE_HEARTBEAT_SECONDS=15), timeouts=replace(CALM, idle=0.3))
    assert found.problems == []
    assert "within 15 s" in found["Idle streams stay open during --wait"].seen


def test_heartbeats_that_do_not_come_are_missed(start: Start) -> None:
    server = start(SSE_HEARTBEAT_SECONDS=60)
    server.publish("settings are read with the first event")
    server.app.config["SSE_HEARTBEAT_SECONDS"] = 0.3
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream", replace(CALM, idle=0.5))
    assert found["No heartbeat arrived"].severity == "warning"
    assert "SSE_HEARTBEAT_SECONDS is 0.3" in found["No heartbeat arrived"].seen


# -- headers ---------------------------------------------------------------------------------------------


def test_headers_that_a_proxy_drops_are_named(start: Start) -> None:
    server = start()
    with ScriptedServer(tampering(server.port, drops=["Cache-Control", "X-Accel-Buffering"])) as proxy:
        found = diagnose(server.app, f"{proxy.url}/stream")
    assert found.problems == []
    assert found.titles("warning")[1:-1] == ["Cache-Control was changed", "X-Accel-Buffering was removed"]
    assert found["Cache-Control was changed"].seen == "no header; no-store and no-transform missing"


def test_another_content_type_is_a_problem_though_events_come(start: Start) -> None:
    location = "proxy_hide_header Content-Type; add_header Content-Type text/plain;"
    found = behind_nginx(start(), location)
    assert found.problems == ["Content-Type was changed"]
    assert found["Content-Type was changed"].seen == "text/plain instead of text/event-stream"


# -- the broker ------------------------------------------------------------------------------------------


def test_a_broker_that_is_down_is_found(start: Start) -> None:
    server = start(SSE_BROKER_URL=f"redis://:geheim@127.0.0.1:{free_port()}")
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream")
    assert found.problems == ["The broker does not accept events"]
    assert "did not take the event" in found["The broker does not accept events"].seen
    assert "geheim" not in repr(found)


# -- who may listen --------------------------------------------------------------------------------------


def test_streams_that_any_client_may_open_are_found(start: Start) -> None:
    server = start()
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream?channel=news")
    assert found["Any client may listen to any channel"].severity == "warning"
    assert "@sse.authorize" in found["Any client may listen to any channel"].hint["Flask"]
    assert found.seen.attempt.is_probe_channel


def test_a_guarded_stream_is_opened_with_a_ticket_of_the_application(
    start: Start, blueprint: ServerSentEventsBlueprint
) -> None:
    blueprint.authorize(lambda channel: False)
    server = start(blueprint, SECRET_KEY="not a secret")
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream?channel=secret")
    assert found.titles("problem", "warning") == ["HTTP/1.1"]
    assert found["Access is restricted"].seen == ("status 403 for a random channel; opened with a ticket")
    # No subscriber of that channel received a probe event.
    assert found.seen.attempt.channel.startswith("flask-sse-doctor-")
    assert "&ticket=" not in repr(found)


@pytest.mark.parametrize(("query", "channel"), [("?channel=news", None), ("", "news")])
def test_without_a_key_the_channel_that_is_named_is_listened_to(
    start: Start, blueprint: ServerSentEventsBlueprint, query: str, channel: str | None
) -> None:
    blueprint.authorize(lambda name: name == "news")
    server = start(blueprint)
    url = f"http://127.0.0.1:{server.port}/stream{query}"
    found = diagnose(server.app, url, channel=channel)
    refused = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream?channel=other")
    assert found.titles("problem", "warning") == ["HTTP/1.1"]
    assert (found.seen.attempt.channel, found.seen.attempt.is_probe_channel) == ("news", False)
    assert refused.problems == ["Access to the stream is denied"]
    assert "'other'" in refused["Access to the stream is denied"].seen


def test_a_visitor_who_may_listen_is_known_by_the_cookie(
    start: Start, blueprint: ServerSentEventsBlueprint
) -> None:
    blueprint.before_request(lambda: None if "user" in session else ("sign in", 401))
    server = start(blueprint, SECRET_KEY="not a secret")
    with server.app.test_client() as client:
        with client.session_transaction() as visitor:
            visitor["user"] = "ann"
        cookie = client.get_cookie("session")
    assert cookie is not None
    url = f"http://127.0.0.1:{server.port}/stream"
    assert diagnose(server.app, url).problems == ["Access to the stream is denied"]
    found = diagnose(server.app, url, cookie=f"session={cookie.value}")
    assert found.titles("problem", "warning") == ["HTTP/1.1"]
    assert cookie.value not in repr(found)


def test_a_rule_that_fails_for_strangers_is_a_warning(
    start: Start, blueprint: ServerSentEventsBlueprint
) -> None:
    blueprint.authorize(lambda channel: channel == f"user-{session['user']}")
    server = start(blueprint, SECRET_KEY="not a secret")
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream")
    assert found.titles("problem", "warning") == ["The access rule fails", "HTTP/1.1"]


def test_a_limit_that_rejects_a_stream_is_found(start: Start) -> None:
    server = start(SSE_MAX_STREAMS=1)
    with server.stream("/stream") as stream:
        stream.wait_opened()
        found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream")
    assert found.problems == ["The stream ends at once"]
    assert "too many streams" in found["The stream ends at once"].seen
