"""A subclass of 1.0 that filters in ``messages()`` still decides what its pages get (13.10)."""

from __future__ import annotations

import json
import threading
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, request
from tests.support import webservers
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.local import LocalServer, make_app, serve
from tests.support.processes import wait_until

from flask_sse import Message, ServerSentEventsBlueprint

APPS = Path(__file__).parent / "apps"
TAKEOVER = pytest.mark.parametrize("takeover", ["auto", "off"])


class Filtered(ServerSentEventsBlueprint):
    """As applications of 1.0 did it: who asks sees what is theirs, of one channel for all."""

    def messages(self, channel: str = "sse") -> Iterator[Message]:
        for message in super().messages(channel=channel):
            if message.data["to"] in ("all", request.headers.get("X-User")):
                yield message


class OwnRedis(ServerSentEventsBlueprint):
    """A blueprint with a server of its own."""

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url("redis://127.0.0.1:1")


class AsIn1(Filtered):
    """The whole of 1.0's method, copied."""

    def messages(self, channel: str = "sse") -> Iterator[Message]:
        pubsub = self.redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            pubsub.subscribe(channel)
            for pubsub_message in pubsub.listen():
                if pubsub_message["type"] == "message":
                    message = Message(**json.loads(pubsub_message["data"]))
                    if message.data["to"] == request.headers.get("X-User"):
                        yield message
        finally:
            pubsub.close()


def of_kind(kind: type[ServerSentEventsBlueprint]) -> ServerSentEventsBlueprint:
    """Return a blueprint with its stream, whose warnings are for one test alone."""
    blueprint = kind("events", __name__)
    blueprint.add_url_rule(rule="", endpoint="stream", view_func=blueprint.stream)
    return blueprint


@pytest.fixture
def filtered() -> ServerSentEventsBlueprint:
    return of_kind(Filtered)


def start(blueprint: ServerSentEventsBlueprint, **config: Any) -> LocalServer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return serve(
            blueprint,
            **{
                "SSE_BROKER_URL": f"memory://filtered-{uuid.uuid4().hex}",
                "SSE_HUB": "thread",
                "SECRET_KEY": "not a secret",
                **config,
            },
        )


def listening(server: LocalServer, user: str, query: str = "") -> StreamClient:
    """Open a stream, and wait until what is published reaches its ``messages()``."""
    before = hub_streams(server)
    stream = server.stream(f"/stream{query}", {"X-User": user})
    stream.wait_for_bytes(b"retry:")
    wait_until(lambda: hub_streams(server) > before, what="its messages()")
    return stream


def hub_streams(server: LocalServer) -> int:
    return int(server.status()["opened"])


def publish(
    blueprint: ServerSentEventsBlueprint, server: LocalServer, to: str, text: str, **more: Any
) -> None:
    with server.app.app_context():
        blueprint.publish({"to": to, "text": text}, **more)


@TAKEOVER
def test_private_events_reach_their_page_alone(filtered: ServerSentEventsBlueprint, takeover: str) -> None:
    with (
        start(filtered, SSE_TAKEOVER=takeover) as server,
        listening(server, "ann") as ann,
        listening(server, "bob") as bob,
    ):
        publish(filtered, server, "ann", "for ann alone", type="note", id="7")
        publish(filtered, server, "all", "public")
        private = ann.next_event()
        assert (private.type, json.loads(private.data)["text"]) == ("note", "for ann alone")
        assert private.last_event_id == "7"
        for stream in (ann, bob):
            assert json.loads(stream.next_event().data)["text"] == "public"
        assert b"for ann alone" not in bob.raw


def test_no_page_holds_the_worker_where_its_connection_can_be_taken(channel: str) -> None:
    env = {"FLASK_SSE_BROKER_URL": f"memory://{channel}"}
    with (
        webservers.start("gunicorn-sync", "filtered:app", APPS, env) as server,
        server.stream("/stream") as one,
        server.stream("/stream") as two,
    ):
        for stream in (one, two):
            stream.wait_for_bytes(b"retry:")
        wait_until(lambda: server.get("/publish").body == b"2", what="both messages()")
        assert [stream.next_event().data for stream in (one, two)] == ["to all"] * 2


def test_nothing_of_the_history_goes_past_the_filter(filtered: ServerSentEventsBlueprint) -> None:
    with start(filtered) as server:
        publish(filtered, server, "ann", "for ann alone")
        with listening(server, "bob", "?last_event_id=earliest") as bob:
            publish(filtered, server, "all", "public")
            assert json.loads(bob.next_event().data)["text"] == "public"
            assert b"for ann alone" not in bob.raw
            assert b"stream-open" not in bob.raw


@pytest.mark.parametrize("setting", [None, 5])
def test_it_has_one_channel_whatever_else_decides(
    filtered: ServerSentEventsBlueprint, setting: int | None
) -> None:
    filtered.authorize(lambda channel: True)
    with start(filtered, SSE_MAX_CHANNELS_PER_STREAM=setting) as server:
        answer = server.get("/stream?channel=a&channel=b")
        assert answer.body.startswith(b":at most 1 channel on one stream")
        with listening(server, "ann", "?channel=a") as stream:
            publish(filtered, server, "ann", "of a", channel="a")
            assert json.loads(stream.next_event().data)["text"] == "of a"


def test_rules_are_asked_as_for_any_stream(filtered: ServerSentEventsBlueprint) -> None:
    filtered.authorize(lambda channel: channel == "a")
    with start(filtered) as server:
        assert server.get("/stream?channel=b").status == 403
        assert server.get("/stream?channel=a", {"Sec-Fetch-Site": "cross-site"}).status == 403


def test_it_ends_with_its_ticket_and_the_page_reconnects(filtered: ServerSentEventsBlueprint) -> None:
    with start(filtered, SSE_RETRY_MS=4711) as server:
        with server.app.test_request_context("/"):
            address = filtered.url("a", expires_in=1)
        with server.stream(address) as stream:
            assert stream.wait_closed() == "eof"
            assert stream.raw.endswith(b"retry:4711\n\n")
            assert b"stream-end" not in stream.raw
        assert wait_until(lambda: server.get(address).status == 204, what="the end of the ticket")


@TAKEOVER
def test_when_the_hub_ends_the_page_reconnects_and_is_not_ended(
    filtered: ServerSentEventsBlueprint, takeover: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        start(filtered, SSE_TAKEOVER=takeover, SSE_RETRY_MS=4711) as server,
        listening(server, "ann") as stream,
    ):
        server.app.extensions["sse"].hub_client.close()
        stream.wait_closed()
        assert bytes(stream.reading.body).endswith(b"retry:4711\n\n")
        assert b"stream-end" not in stream.raw
        assert "HubUnavailableError" in caplog.text
        with listening(server, "ann") as again:
            publish(filtered, server, "ann", "again")
            assert json.loads(again.next_event().data)["text"] == "again"
        # Its generator waits for the hub, and would log in the next test that the hub has ended.
        wait_until(lambda: server.status()["streams"] == 0, what="its messages() to end")


def test_a_page_that_left_keeps_neither_thread_nor_stream_of_the_hub(
    filtered: ServerSentEventsBlueprint, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nothing is published, so that its generator never yields."""
    with start(filtered) as server:
        assert server.status()["streams"] == 0
        before = threading.active_count()
        streams = [listening(server, "ann") for _ in range(5)]
        assert server.status()["streams"] == 5
        for stream in streams:
            stream.close()
        wait_until(lambda: server.status()["streams"] == 0, what="their messages() to end")
        wait_until(lambda: threading.active_count() <= before, what="their threads to end")
        assert "failed" not in caplog.text


def test_a_method_copied_from_1_0_listens_to_redis(valkey: Broker, channel: str) -> None:
    blueprint = of_kind(AsIn1)
    with (
        start(blueprint, SSE_BROKER_URL=None, REDIS_URL=valkey.url) as server,
        server.stream(f"/stream?channel={channel}", {"X-User": "ann"}) as stream,
    ):
        wait_until(lambda: valkey.client().pubsub_numsub(channel)[0][1], what="its subscription")
        publish(blueprint, server, "bob", "for ann alone", channel=channel)
        publish(blueprint, server, "ann", "for ann", channel=channel)
        assert json.loads(stream.next_event().data)["text"] == "for ann"


def test_a_method_set_on_the_object_counts_as_well() -> None:
    blueprint = of_kind(ServerSentEventsBlueprint)
    blueprint.messages = lambda channel="sse": iter([Message("from the object", type=channel)])  # type: ignore[method-assign]
    with start(blueprint) as server, server.stream("/stream?channel=a") as stream:
        event = stream.next_event()
        assert (event.type, event.data) == ("a", "from the object")


@pytest.mark.parametrize(
    ("kind", "overridden", "fix"),
    [(Filtered, "messages()", "@authorize"), (OwnRedis, "redis", "SSE_REDIS_URL")],
)
def test_a_warning_at_registration_says_so_and_how_to_move(
    kind: type[ServerSentEventsBlueprint], overridden: str, fix: str
) -> None:
    app = Flask("app")
    with pytest.warns(UserWarning, match=f"{kind.__name__} overrides ") as warned:
        app.register_blueprint(of_kind(kind), url_prefix="/stream")
    (warning,) = warned
    assert overridden in str(warning.message)
    assert fix in str(warning.message)
    # It points at the line of the application that registers it.
    assert warning.filename == str(Path(__file__))


def test_nobody_else_is_warned() -> None:
    class Live(ServerSentEventsBlueprint):
        def publish_note(self, text: str) -> int:
            return self.publish(text, type="note")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_app(of_kind(Live), SSE_BROKER_URL="memory://none")
        make_app(SSE_BROKER_URL="memory://none")
