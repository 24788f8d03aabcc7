import pytest
from app import app
from flask.testing import FlaskClient

from flask_sse.testing import PublishedEvents, containing, event, open_stream


@pytest.fixture
def client() -> FlaskClient:
    return app.test_client()


def test_a_vote_is_published(client: FlaskClient, sse_events: PublishedEvents) -> None:
    client.post("/votes/tea")
    assert sse_events == [event(type="votes", data=containing(tea=1))]


@pytest.mark.usefixtures("sse_events")
def test_a_page_gets_the_votes(client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        client.post("/votes/coffee")
        assert stream.next("votes").json["coffee"] > 0
        client.post("/votes/milk")  # there is no milk
        stream.nothing()


def test_a_quiet_page_is_kept_open(client: FlaskClient, sse_events: PublishedEvents) -> None:
    with open_stream(client, "/stream") as stream:
        sse_events.advance(60)
        assert stream.heartbeats >= 3
