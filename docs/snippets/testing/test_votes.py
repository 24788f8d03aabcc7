from collections.abc import Iterator

import pytest
from app import app
from flask import Flask

from flask_sse import sse


@pytest.fixture
def poll() -> Iterator[Flask]:
    app.config["SSE_HUB"] = "thread"
    with app.app_context():
        yield app


def test_a_vote_is_published(poll: Flask) -> None:
    messages = sse.messages()
    poll.test_client().post("/votes/tea")
    message = next(messages)
    assert message.type == "votes"
    assert message.data["tea"] == 1


def test_a_page_gets_the_votes(poll: Flask) -> None:
    response = poll.test_client().get("/stream")
    body = iter(response.response)
    assert next(body).startswith(b"retry:")
    poll.test_client().post("/votes/tea")
    assert next(body).startswith(b"event:votes\n")
    response.close()
