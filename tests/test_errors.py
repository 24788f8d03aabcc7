"""Every exception has its place in the tree, and a text that says what to do."""

from __future__ import annotations

import contextlib
import pickle
import re

import pytest
import redis
from tests.support.processes import free_port

from flask_sse import Published, Publisher, errors
from flask_sse.errors import (
    BrokerUnavailableError,
    HubUnavailableError,
    InvalidChannelError,
    InvalidMessageError,
    InvalidSettingError,
    MessageTooLargeError,
    SSEError,
    TooManyRunsError,
    UsageError,
)

_BRANCH = re.compile(r"(?P<indent>[│ ]*)[├└]── (?P<name>\w+)")


def drawn_tree() -> dict[str, str]:
    """Return the parent of each exception, as the top of the module draws it."""
    path = ["SSEError"]
    parents = {}
    for line in (errors.__doc__ or "").splitlines():
        if branch := _BRANCH.match(line):
            depth = len(branch["indent"]) // 4 + 1
            path[depth:] = [branch["name"]]
            parents[branch["name"]] = path[depth - 1]
    return parents


def real_tree() -> dict[str, str]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not SSEError]
    return {kind.__name__: kind.__bases__[0].__name__ for kind in kinds if issubclass(kind, SSEError)}


def test_the_tree_on_top_of_the_module_is_the_real_one() -> None:
    assert drawn_tree() == real_tree()


def test_every_name_ends_in_error() -> None:
    assert all(name.endswith("Error") for name in real_tree())


def test_wrong_usage_is_also_a_value_error() -> None:
    assert issubclass(UsageError, ValueError)
    assert not issubclass(errors.BrokerError, ValueError)
    assert not issubclass(errors.HubError, ValueError)


@pytest.mark.parametrize(
    ("error", "attributes", "text"),
    [
        (
            InvalidMessageError("type", "a\nb", "it must not hold LF"),
            {"field": "type", "value": "a\nb"},
            r"type 'a\nb' cannot be sent: it must not hold LF",
        ),
        (
            TooManyRunsError(200, "the limit is SSE_MAX_RUNS"),
            {"runs": 200},
            (
                "no further run can be started in this process, which has 200: the limit is SSE_MAX_RUNS; "
                "try later, or let a job queue run it (Publisher.produce)"
            ),
        ),
        (
            MessageTooLargeError(300, 200),
            {"size_bytes": 300, "max_event_bytes": 200},
            (
                "the event is 300 bytes on the wire, the limit is 200: "
                "send a reference instead of the content, or raise SSE_MAX_EVENT_BYTES"
            ),
        ),
        (
            InvalidChannelError("", "it is empty"),
            {"channel": ""},
            "channel '' cannot be used: it is empty",
        ),
        (
            InvalidSettingError("SSE_HUB", 1, "it must be auto"),
            {"key": "SSE_HUB", "value": 1},
            "SSE_HUB = 1 cannot be used: it must be auto",
        ),
        (
            BrokerUnavailableError("redis://localhost", "timed out", (1, 2)),
            {"broker": "redis://localhost", "published": [1, 2]},
            "redis://localhost did not take the event: timed out",
        ),
        (
            HubUnavailableError("/run/hub.sock", "refused"),
            {"where": "/run/hub.sock"},
            "no hub at /run/hub.sock: refused",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_its_facts_as_attributes_and_in_its_text(
    error: SSEError, attributes: dict[str, object], text: str
) -> None:
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert str(error) == text


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


def nested(depth: int) -> list[object]:
    data: list[object] = []
    for _ in range(depth):
        data = [data]
    return data


@pytest.mark.parametrize(
    "value",
    ["a" * 10_000, "é\u2028\x1b[31m\ud800\n", b"\xff" * 10_000, nested(100_000), 10**5000, Unprintable()],
    ids=["long", "unprintable", "bytes", "nested", "5000 digits", "no repr"],
)
def test_a_foreign_value_is_shown_in_one_short_printable_line(value: object) -> None:
    error = InvalidSettingError("KEY", value, "hint")
    text = str(error)

    assert error.value is value
    assert len(text) < 150
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith("KEY = ")
    assert text.endswith(" cannot be used: hint")


@pytest.mark.parametrize(
    "error",
    [
        MessageTooLargeError(300, 200),
        InvalidSettingError("SSE_HUB", "on", "it must be auto"),
        BrokerUnavailableError("localhost:6379", "refused"),
        BrokerUnavailableError("localhost:6379", "refused", [Published(2, "order-7")]),
        HubUnavailableError("its socket", "gone"),
        TooManyRunsError(200, "the limit is SSE_MAX_RUNS"),
    ],
)
def test_an_error_crosses_to_another_process_as_task_queues_need_it(error: SSEError) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    if isinstance(other, BrokerUnavailableError):
        assert [published.id for published in other.published] == ["order-7"] * len(other.published)


def test_code_of_1_0_that_catches_errors_of_redis_py_still_does() -> None:
    """14.41: 1.0 raised them."""
    publisher = Publisher(f"redis://127.0.0.1:{free_port()}")
    with contextlib.closing(publisher), pytest.raises(redis.exceptions.ConnectionError) as caught:
        publisher.publish("x")
    error = caught.value
    assert isinstance(error, BrokerUnavailableError)
    assert error.published == []
    assert repr(error) == f"RedisUnavailableError({str(error)!r})"
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is type(error)
    assert str(other) == str(error)


def test_a_broker_that_is_away_is_a_connection_error() -> None:
    """14.41."""
    error = BrokerUnavailableError("memory://", "gone")
    assert isinstance(error, ConnectionError)
    assert error.errno is None
