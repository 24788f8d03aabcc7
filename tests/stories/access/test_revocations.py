"""A right that was taken away stays away: over hubs that are replaced or die, and brokers that forget."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest
from flask import request
from tests.support.access import ended, opened
from tests.support.bare_application import BareApplication, log_of
from tests.support.brokers import Broker
from tests.support.local import LocalServer, serve
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from tests.support.successors import succeed

from flask_sse import ServerSentEventsBlueprint, submitter
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.protocol.revocation import Revocation
from flask_sse.hub.server.revocation_journal import RevocationJournal
from flask_sse.settings import Settings
from flask_sse.submitter import Submitter

Blueprint = ServerSentEventsBlueprint

SETTINGS = {"SECRET_KEY": "not a secret", "SSE_HISTORY_SECONDS": 60}


@pytest.fixture(params=["memory", "valkey"])
def url(request: pytest.FixtureRequest, channel: str) -> str:
    """Either broker."""
    if request.param == "memory":
        return f"memory://{channel}"
    valkey: Broker = request.getfixturevalue("valkey")
    return valkey.url


def ticket_of(server: LocalServer, blueprint: Blueprint, channel: str, subject: str) -> str:
    with server.app.test_request_context("/"):
        return blueprint.url(channel, subject=subject)


def disconnect(server: LocalServer, blueprint: Blueprint, subject: str) -> None:
    with server.app.app_context():
        blueprint.disconnect(subject=subject, reason="revoked")


def is_revoked(server: LocalServer, address: str) -> bool:
    with server.stream(address) as stream:
        event = stream.next_event()
        assert event.type in {"stream-end", "stream-open"}
        return event.type == "stream-end"


@pytest.mark.usefixtures("runtime_directory")
def test_a_revoked_ticket_stays_revoked_when_another_hub_takes_over(
    url: str, blueprint: Blueprint, channel: str
) -> None:
    # 13.1
    with serve(blueprint, SSE_BROKER_URL=url, **SETTINGS) as server:
        settings = Settings.from_mapping(server.app.config)
        revoked = ticket_of(server, blueprint, channel, f"ann {channel}")
        good = ticket_of(server, blueprint, channel, f"bob {channel}")
        with opened(server, good):
            disconnect(server, blueprint, f"ann {channel}")
            wait_until(lambda: is_revoked(server, revoked), what="the revocation")
            for _ in range(2):
                succeed(settings)
                assert is_revoked(server, revoked)
                assert not is_revoked(server, good)
            later = ticket_of(server, blueprint, channel, f"ann {channel}")
            assert not is_revoked(server, later)


@pytest.mark.usefixtures("runtime_directory")
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_a_revoked_ticket_stays_revoked_when_the_hub_of_memory_dies(
    blueprint: Blueprint, channel: str, death: signal.Signals
) -> None:
    # 13.3
    with serve(blueprint, SSE_BROKER_URL=f"memory://{channel}", **SETTINGS) as server:
        settings = Settings.from_mapping(server.app.config)
        revoked = ticket_of(server, blueprint, channel, "ann")
        good = ticket_of(server, blueprint, channel, "bob")
        with opened(server, good):
            disconnect(server, blueprint, "ann")
            hub = psutil.Process(server.status()["pid"])
            hub.send_signal(death)
        wait_until(lambda: not hub.is_running() or hub.status() == psutil.STATUS_ZOMBIE, what="its end")
        assert is_revoked(server, revoked)
        assert not is_revoked(server, good)
        assert server.status()["pid"] != hub.pid
        file = hub_path(settings).with_suffix(".revocations")
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("runtime_directory")
@pytest.mark.parametrize("loss", ["flushed", "restarted empty", "evicted"])
def test_a_revocation_is_carried_out_when_the_broker_has_forgotten_the_ones_before(
    own_valkey: Broker, blueprint: Blueprint, channel: str, loss: str
) -> None:
    # 13.2
    blueprint.identify(lambda: request.headers.get("X-User"))
    with serve(blueprint, SSE_BROKER_URL=own_valkey.url, **SETTINGS) as server:
        path = f"/stream?channel={channel}"
        with (
            opened(server, path, {"X-User": "ann"}) as ann,
            opened(server, path, {"X-User": "bob"}) as bob,
            opened(server, path, {"X-User": "carl"}) as carl,
        ):
            disconnect(server, blueprint, "ann")
            ended(ann)
            if loss == "restarted empty":
                own_valkey.restart()
                wait_until(lambda: not server.status()["broker_away"], what="the hub's connection")
            elif loss == "flushed":
                own_valkey.client().flushall()
            else:
                own_valkey.client().delete(*own_valkey.client().keys("flask-sse:{flask-sse:control}:*"))
            for subject, stream in (("bob", bob), ("carl", carl)):
                disconnect(server, blueprint, subject)
                while (event := stream.next_event()).type == "stream-reset":
                    pass
                assert event.type == "stream-end"


@pytest.mark.usefixtures("runtime_directory")
def test_the_hub_after_a_broker_that_has_lost_revocations_knows_its_own_and_warns(
    own_valkey: Broker, blueprint: Blueprint, channel: str
) -> None:
    # 13.3
    with serve(blueprint, SSE_BROKER_URL=own_valkey.url, **SETTINGS) as server:
        settings = Settings.from_mapping(server.app.config)
        revoked = ticket_of(server, blueprint, channel, "ann")
        with opened(server, f"/stream?channel={channel}"):
            disconnect(server, blueprint, "ann")
            wait_until(lambda: is_revoked(server, revoked), what="the revocation")
            os.kill(server.status()["pid"], signal.SIGKILL)
        own_valkey.restart()
        assert is_revoked(server, revoked)
        wait_until(lambda: "has lost 1 revocation " in log_of(hub_path(settings)), what="the warning")


@pytest.mark.usefixtures("runtime_directory")
def test_a_hub_that_lives_drops_from_its_file_what_is_over(channel: str) -> None:
    # 13.3
    url, now = f"memory://{channel}", time.time()
    journal = RevocationJournal.beside(hub_path(Settings(url)))
    journal.open()
    for age_seconds, subject in ((25 * 3600, "ann"), (0, "bob")):
        journal.append(Revocation(subject, None, "x", now - age_seconds), now - age_seconds)
    journal.close()
    file = hub_path(Settings(url)).with_suffix(".revocations")
    assert b'"ann"' in file.read_bytes()
    with BareApplication(url) as client:
        client.status()
        wait_until(lambda: b'"ann"' not in file.read_bytes(), what="a file of one day")
    assert b'"bob"' in file.read_bytes()


# -- 13.4 ----------------------------------------------------------------------------------------------


class SlowGuard:
    """A guard that has looked at the right of ``ann`` and takes its time for something else."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.has_looked, self.goes_on = threading.Event(), threading.Event()
        blueprint.identify(lambda: request.headers.get("X-User"))
        blueprint.before_request(self)

    def __call__(self) -> None:
        if request.headers.get("X-User") == "ann":
            self.has_looked.set()
            assert self.goes_on.wait(PATIENT_SECONDS)


def test_a_right_that_is_revoked_while_a_guard_is_asked_opens_no_stream(
    url: str, blueprint: Blueprint, channel: str
) -> None:
    guard = SlowGuard(blueprint)
    path = f"/stream?channel={channel}"
    config = {**SETTINGS, "SSE_BROKER_URL": url, "SSE_HUB": "thread"}
    with serve(blueprint, **config) as server, opened(server, path, {"X-User": "bob"}) as bob:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.stream, path, {"X-User": "ann"})
            assert guard.has_looked.wait(PATIENT_SECONDS)
            disconnect(server, blueprint, "ann")
            disconnect(server, blueprint, "bob")
            ended(bob)  # the hub has got both
            guard.goes_on.set()
            with answer.result() as ann:
                assert ended(ann).data == '{"reason": "revoked"}'
        with opened(server, path, {"X-User": "ann"}):
            pass


@pytest.mark.parametrize("own", [False, True])
def test_a_ticket_is_as_old_as_the_request_that_makes_it(
    blueprint: Blueprint, channel: str, own: bool
) -> None:
    config = {**SETTINGS, "SSE_BROKER_URL": f"memory://{channel}", "SSE_HUB": "thread"}
    with serve(blueprint, **config) as server:

        @server.app.get("/page")
        def page() -> str:
            # By this request itself, as a view that signs all other devices out; or by another one meanwhile.
            if own:
                blueprint.disconnect(subject="ann")
            else:
                Submitter.revoke(server.app.extensions["sse"].submitter, "ann", None, "by another request")
            return blueprint.url(channel, subject="ann")

        with opened(server, "/stream"):
            address = server.get("/page").body.decode()
        assert is_revoked(server, address) is not own


@pytest.mark.parametrize("ahead_seconds", [-3.0, 3.0, -3600.0, 86_400.0, 400 * 86_400.0])
def test_the_clock_of_who_revokes_decides_nothing_about_streams(
    valkey: Broker, blueprint: Blueprint, channel: str, ahead_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    blueprint.identify(lambda: channel)
    path = f"/stream?channel={channel}"
    config = {**SETTINGS, "SSE_BROKER_URL": valkey.url, "SSE_HUB": "thread"}
    with serve(blueprint, **config) as server, opened(server, path) as stream, server.app.app_context():
        with monkeypatch.context() as patch:
            now = time.time() + ahead_seconds
            patch.setattr(submitter, "time", SimpleNamespace(time=lambda: now))
            blueprint.disconnect(subject=channel)
        assert stream.next_event().type == "stream-end"
        with opened(server, path) as again:
            blueprint.publish("goes on", channel=channel)
            assert again.next_event().data == "goes on"
