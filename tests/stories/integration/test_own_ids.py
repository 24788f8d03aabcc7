"""An id that an application may give comes back through every web server (13.11)."""

from __future__ import annotations

import string
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from tests.support import webservers
from tests.support.client import StreamClient
from tests.support.nginx import Nginx
from tests.support.webservers import WEB_SERVERS

from flask_sse import Publisher

APPS = Path(__file__).parent / "apps"
OFTEN = ["flask-threaded", "gunicorn-sync", "uvicorn-asyncio"]
ASCII = string.digits + string.ascii_letters + string.punctuation + " ~"
UNICODE = "grüße \N{TEST TUBE}\u2028."
SERVERS = [name for name, server in WEB_SERVERS.items() if server.streams and not server.tls]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.long) for name in SERVERS]
)
def test_a_page_goes_on_from_any_id_that_could_be_given(name: str) -> None:
    url = f"memory://ids-{uuid.uuid4().hex}"
    env = {"STORY_BROKER_URL": url}
    with closing(Publisher(url)) as publisher, webservers.start(name, "story:app", APPS, env) as server:
        ids = [ASCII] if name == "granian" else [ASCII, UNICODE]
        for number, own_id in enumerate(ids):
            publisher.publish("seen", id=own_id, channel=f"c{number}")
            publisher.publish("missed", channel=f"c{number}")
        for number, own_id in enumerate(ids):
            with server.stream(f"/stream?channel=c{number}", {"Last-Event-ID": own_id}) as stream:
                assert stream.next_event().data == "missed", own_id


def test_a_page_goes_on_from_any_id_behind_nginx() -> None:
    url = f"memory://ids-{uuid.uuid4().hex}"
    with (
        closing(Publisher(url)) as publisher,
        webservers.start("gunicorn-sync", "story:app", APPS, {"STORY_BROKER_URL": url}) as server,
        Nginx(server.port) as nginx,
    ):
        for number, own_id in enumerate((ASCII, UNICODE)):
            publisher.publish("seen", id=own_id, channel=f"c{number}")
            publisher.publish("missed", channel=f"c{number}")
            with StreamClient(nginx.port, f"/stream?channel=c{number}", {"Last-Event-ID": own_id}) as stream:
                assert stream.next_event().data == "missed", own_id
