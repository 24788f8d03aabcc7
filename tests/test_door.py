"""The decision at the door, without any framework: the order of its checks, each answer and every header."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from tests.support.patience import PATIENT_SECONDS

from flask_sse import UsageError
from flask_sse.cors import blocked_origin, cors_headers, preflight
from flask_sse.door import (
    Admitted,
    Decision,
    MayListen,
    PublicStreams,
    Question,
    RightsKnownAt,
    Rules,
    SessionEndsIn,
    Subject,
    TooManyChannels,
    answered,
    decide,
    has_ended,
)
from flask_sse.hub.protocol.grant import Grant
from flask_sse.settings import History, Settings, StreamRules
from flask_sse.tickets import Ticket, sign
from flask_sse.visit import Answer, Visit

NOW = 1_000_000.0
KEY = b"a key of a test"
US, OTHERS = "https://app.example", "https://others.example"
SETTINGS = Settings("memory://")
RULES = Rules(SETTINGS, keys=[KEY])
NOT_CACHED = {
    "Cache-Control": "no-store, no-cache, private, no-transform",
    "X-Accel-Buffering": "no",
}
TEXT = {**NOT_CACHED, "Content-Type": "text/plain; charset=utf-8"}
STREAM = {**NOT_CACHED, "Content-Type": "text/event-stream; charset=utf-8"}
CURSOR = "abcdefgh.5-0"
RETRY_MS = 30_001


def visit(query: Mapping[str, list[str]] | None = None, **headers: str) -> Visit:
    """Return a request of a stream; in the names of headers ``_`` stands for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Visit("GET", "/stream", query or {}, named, "192.0.2.1", US)


def ticket(*channels: str, expires_at: float = NOW + 60) -> str:
    return sign(Ticket(channels or ("sse",), "ann", NOW - 10, expires_at), [KEY])


class Application:
    """Answers the questions of the door and notes them."""

    def __init__(
        self,
        may_listen: Callable[[str], Any] = lambda channel: True,
        subject: Any = None,
        session_ends_in: float | None = None,
    ) -> None:
        self.asked: list[Question] = []
        self._may_listen = may_listen
        self._subject = subject
        self._session_ends_in = session_ends_in

    def answer(self, question: Question) -> Any:
        """Answer as a synchronous application does."""
        self.asked.append(question)
        match question:
            case MayListen(channel):
                return self._may_listen(channel)
            case Subject():
                return self._subject
            case SessionEndsIn():
                return self._session_ends_in
            case RightsKnownAt():
                return NOW - 1
            case TooManyChannels():
                return RETRY_MS
        return None

    async def answer_later(self, question: Question) -> Any:
        """Answer as an asynchronous application does."""
        await asyncio.sleep(0)
        return self.answer(question)


async def answered_later(
    decision: Decision, answer: Callable[[Question], Awaitable[Any]]
) -> Admitted | Answer:
    """Drive a decision as the face of an asynchronous framework does."""
    reply = None
    while True:
        try:
            question = decision.send(reply)
        except StopIteration as end:
            outcome: Admitted | Answer = end.value
            return outcome
        reply = await answer(question)


def decided(visit: Visit, rules: Rules = RULES, application: Application | None = None) -> Admitted | Answer:
    """Let the same decision be answered at once and later; they must not differ."""
    at_once = application or Application()
    outcome = answered(decide(visit, rules, NOW), at_once.answer)
    asked = list(at_once.asked)
    at_once.asked.clear()
    later = asyncio.run(answered_later(decide(visit, rules, NOW), at_once.answer_later))
    assert at_once.asked == asked
    assert outcome == later
    return outcome


def admitted(visit: Visit, rules: Rules = RULES, application: Application | None = None) -> Admitted:
    outcome = decided(visit, rules, application)
    assert isinstance(outcome, Admitted), outcome
    return outcome


# -- the order of the checks -------------------------------------------------------------------------

# From the first check to the last: a flaw of a visit, and the answer to it.
FLAWS: list[tuple[str, dict[str, list[str]], dict[str, str], HTTPStatus, bytes]] = [
    ("a bad name", {"channel": ["a\nb"]}, {}, HTTPStatus.BAD_REQUEST, b"channel 'a\\nb' cannot be used"),
    ("too many", {"channel": ["a", "b"]}, {}, HTTPStatus.OK, b":at most 1 channel on one stream"),
    ("the end", {}, {"last_event_id": "stream-end"}, HTTPStatus.NO_CONTENT, b""),
    ("another site", {}, {"sec_fetch_site": "cross-site"}, HTTPStatus.FORBIDDEN, b"pages of other sites"),
    ("no ticket", {}, {}, HTTPStatus.FORBIDDEN, b"a ticket is needed (SSE_REQUIRE_TICKET)\n"),
]


@pytest.mark.parametrize("first", range(len(FLAWS)), ids=[flaw[0] for flaw in FLAWS])
def test_the_first_flaw_decides_whatever_follows(first: int) -> None:
    query: dict[str, list[str]] = {}
    headers: dict[str, str] = {}
    for _, more, others, _, _ in reversed(FLAWS[first:]):
        query, headers = {**query, **more}, {**headers, **others}
    # Where the channels are right, one of them was asked for.
    application = Application(lambda channel: pytest.fail("asked although it was decided"))
    rules = replace(RULES, settings=replace(SETTINGS, require_ticket=True, max_channels_per_stream=1))
    outcome = decided(visit(query, **headers), rules, application)
    _, _, _, status, body = FLAWS[first]
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.body[: len(body)]) == (status, body)
    assert [each for each in application.asked if not isinstance(each, TooManyChannels)] == []


def test_a_rule_is_asked_for_each_channel_until_it_refuses_one_and_then_for_the_rest_of_the_visitor() -> None:
    rules = replace(RULES, has_rule=True)
    both = visit({"channel": ["a", "b", "a"]})
    willing = Application()
    admitted(both, rules, willing)
    assert willing.asked == [MayListen("a"), MayListen("b"), Subject(), SessionEndsIn(), RightsKnownAt()]
    refusing = Application(lambda channel: channel != "a")
    outcome = decided(both, rules, refusing)
    assert refusing.asked == [MayListen("a")]
    assert outcome == Answer(HTTPStatus.FORBIDDEN, TEXT, b"you may not listen to all of these channels\n")


def test_a_ticket_is_asked_instead_of_all_rules() -> None:
    application = Application(lambda channel: False)
    rules = replace(RULES, has_rule=True, settings=replace(SETTINGS, require_ticket=True))
    asked = visit({"channel": ["b"], "ticket": [ticket("a", "b")]})
    assert admitted(asked, rules, application).request.grant == Grant(
        "ann", None, 60.0, NOW - 10, by_ticket=True
    )
    assert application.asked == []


def test_a_view_that_names_the_channels_decides_instead_of_the_rule() -> None:
    application = Application(lambda channel: False)
    rules = replace(RULES, named=("mine", "news"), has_rule=True)
    outcome = admitted(visit({"channel": ["other"]}), rules, application)
    assert outcome.request.channels == ("mine", "news")
    assert application.asked == [Subject(), SessionEndsIn(), RightsKnownAt()]


@pytest.mark.parametrize(
    ("changes", "is_public"),
    [({}, True), ({"is_guarded": True}, False), ({"has_rule": True}, False), ({"named": ("a",)}, False)],
)
def test_streams_are_public_where_nothing_decides(changes: dict[str, Any], is_public: bool) -> None:
    application = Application()
    admitted(visit(), replace(RULES, **changes), application)
    assert (PublicStreams() in application.asked) == is_public


# -- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status", "body"),
    [
        ("nonsense", 403, b"the ticket was not signed with a key of this application\n"),
        ("", 403, b"the ticket was not signed with a key of this application\n"),
        (ticket("other"), 403, b"the ticket is for other channels\n"),
        (ticket(expires_at=NOW), 204, b""),
    ],
)
def test_tickets_that_give_no_right(text: str, status: int, body: bytes) -> None:
    assert decided(visit({"ticket": [text]})) == Answer(HTTPStatus(status), TEXT, body)


def test_without_a_key_no_ticket_is_known() -> None:
    outcome = decided(
        visit({"ticket": [sign(Ticket(("sse",), None, NOW, NOW + 60), [b""])]}), Rules(SETTINGS)
    )
    assert isinstance(outcome, Answer)
    assert outcome.status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("changes", "query", "limit"),
    [
        ({}, {}, 1),
        ({"has_rule": True}, {}, 10),
        ({"named": tuple(map(str, range(11)))}, {}, 10),
        ({}, {"ticket": ["x"]}, 10),
        ({"settings": replace(SETTINGS, max_channels_per_stream=3), "has_rule": True}, {}, 3),
        ({"settings": replace(SETTINGS, max_channels_per_stream=3), "max_channels": 1}, {}, 1),
    ],
)
def test_over_its_limit_of_channels_a_stream_is_rejected_with_200_so_that_it_comes_back(
    changes: dict[str, Any], query: dict[str, list[str]], limit: int
) -> None:
    application = Application()
    names = [str(number) for number in range(11)]
    outcome = decided(visit({"channel": names, **query}), replace(RULES, **changes), application)
    most = f"at most {limit} channel{'s' if limit > 1 else ''}"
    body = f":{most} on one stream (SSE_MAX_CHANNELS_PER_STREAM)\n\nretry:{RETRY_MS}\n\n".encode()
    assert outcome == Answer(HTTPStatus.OK, STREAM, body)
    assert application.asked == [TooManyChannels(11, limit)]
    fewer = replace(RULES, **{**changes, "named": tuple(names[:limit]) if "named" in changes else ()})
    if "ticket" not in query:
        admitted(visit({"channel": names[:limit]}), fewer)


def test_a_page_of_another_site_may_listen_where_its_origin_is_listed() -> None:
    rules = replace(RULES, settings=replace(SETTINGS, cors_origins=frozenset({OTHERS})))
    for origin, is_allowed in ((OTHERS, True), ("https://third.example", False)):
        outcome = decided(visit(origin=origin, sec_fetch_site="cross-site"), rules)
        assert isinstance(outcome, Admitted) == is_allowed
    assert isinstance(decided(visit(sec_fetch_site="same-site"), RULES), Admitted)


@pytest.mark.parametrize("query", [None, {"channel": ["\0"]}, {"channel": ["a", "b"]}, {"ticket": ["x"]}])
@pytest.mark.parametrize(
    ("origins", "more"),
    [
        (set(), {}),
        ({"*"}, {"Access-Control-Allow-Origin": "*"}),
        (
            {OTHERS},
            {
                "Vary": "Origin",
                "Access-Control-Allow-Origin": OTHERS,
                "Access-Control-Allow-Credentials": "true",
            },
        ),
        ({US}, {"Vary": "Origin"}),
    ],
)
def test_streams_and_all_answers_have_the_headers_that_let_pages_read_them(
    query: dict[str, list[str]] | None, origins: set[str], more: dict[str, str]
) -> None:
    rules = replace(RULES, settings=replace(SETTINGS, cors_origins=frozenset(origins)))
    outcome = decided(visit(query, origin=OTHERS), rules)
    is_text = isinstance(outcome, Answer) and outcome.status != HTTPStatus.OK
    assert outcome.headers == {**(TEXT if is_text else STREAM), **more}


# -- the stream --------------------------------------------------------------------------------------


def test_who_the_visitor_is_and_until_when_goes_to_the_hub() -> None:
    rules = replace(RULES, settings=replace(SETTINGS, rules=StreamRules(max_streams_per_address=3)))
    outcome = admitted(visit(), rules, Application(subject=7, session_ends_in=30.0))
    assert outcome.request.grant == Grant("7", "192.0.2.1", 30.0, NOW - 1)
    assert outcome.request.rules.max_streams_per_address == 3
    # Where streams are not counted by address the hub needs none.
    assert admitted(visit()).request.grant == Grant(None, None, None, NOW - 1)


def test_a_subject_that_cannot_be_one_is_an_error_of_the_application() -> None:
    with pytest.raises(UsageError, match="cannot be a subject"):
        answered(decide(visit(), RULES, NOW), Application(subject="\ud800").answer)


def test_what_a_rule_raises_reaches_the_framework() -> None:
    def may_listen(channel: str) -> bool:
        raise LookupError(channel)

    with pytest.raises(LookupError, match="sse"):
        answered(decide(visit(), replace(RULES, has_rule=True), NOW), Application(may_listen).answer)


@pytest.mark.parametrize(
    ("headers", "query", "since"),
    [
        ({}, {}, {"a": "", "run:x": "earliest"}),
        ({"last_event_id": CURSOR}, {}, {"a": CURSOR, "run:x": CURSOR}),
        ({}, {"last_event_id": [CURSOR]}, {"a": CURSOR, "run:x": CURSOR}),
        ({"last_event_id": CURSOR}, {"last_event_id": ["earliest"]}, {"a": CURSOR, "run:x": CURSOR}),
        ({"last_event_id": ""}, {"last_event_id": ["earliest"]}, {"a": "earliest", "run:x": "earliest"}),
        ({"last_event_id": f"{CURSOR},earliest"}, {}, {"a": CURSOR, "run:x": "earliest"}),
        ({"last_event_id": "an id of theirs"}, {}, {"a": "an id of theirs", "run:x": "an id of theirs"}),
    ],
)
def test_where_a_client_resumes(
    headers: dict[str, str], query: dict[str, list[str]], since: dict[str, str]
) -> None:
    settings = replace(SETTINGS, history_rules=(("short:*", History(size=0)),))
    rules = Rules(settings, named=("short:1", "run:x", "a"))
    assert admitted(visit(query, **headers), rules).request.since == since


def test_a_stream_has_ended_for_a_client_that_names_its_end() -> None:
    assert has_ended(visit(last_event_id="stream-end"))
    assert has_ended(visit({"last_event_id": ["stream-end"]}))
    assert not has_ended(visit({"last_event_id": ["stream-end"]}, last_event_id=CURSOR))
    assert not has_ended(visit())


# -- origins -----------------------------------------------------------------------------------------


def asked_before(origin: str) -> Visit:
    return replace(visit(origin=origin, access_control_request_method="GET"), method="OPTIONS")


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [({OTHERS}, "Last-Event-ID, Cache-Control, Authorization"), ({"*"}, "Last-Event-ID, Cache-Control")],
)
def test_a_preflight_is_answered_for_pages_that_may_listen(origins: set[str], allowed: str) -> None:
    settings = replace(SETTINGS, cors_origins=frozenset(origins))
    asked = asked_before(OTHERS)
    assert preflight(asked, settings) == Answer(
        HTTPStatus.NO_CONTENT,
        {
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": allowed,
            "Access-Control-Max-Age": "600",
            **cors_headers(asked, settings),
        },
    )
    assert preflight(replace(asked, method="GET"), settings) is None
    assert preflight(replace(visit(origin=OTHERS), method="OPTIONS"), settings) is None
    assert preflight(asked_before("https://third.example"), SETTINGS) is None


@pytest.mark.parametrize(
    ("origins", "headers", "text"),
    [
        (set(), {}, None),
        (set(), {"origin": OTHERS}, f"pages of '{OTHERS}' may not read streams: to let them, add"),
        (set(), {"origin": "null"}, "a page without an origin (a sandboxed frame or a file) may not read"),
        (set(), {"origin": US}, None),
        (set(), {"origin": OTHERS, "sec_fetch_site": "same-origin"}, None),
        ({OTHERS}, {"origin": OTHERS}, None),
        ({"*"}, {"origin": OTHERS}, None),
        ({"*"}, {"origin": OTHERS, "cookie": "a=b"}, f"a page of '{OTHERS}' sends cookies, so its browser"),
    ],
)
def test_why_a_page_cannot_read_its_answer(
    origins: set[str], headers: dict[str, str], text: str | None
) -> None:
    why = blocked_origin(visit(None, **headers), replace(SETTINGS, cors_origins=frozenset(origins)))
    assert (why and why[: len(text or "")]) == text


# -- no framework ------------------------------------------------------------------------------------


def test_the_door_and_the_publisher_load_no_framework() -> None:
    script = (
        "import sys, flask_sse.door, flask_sse.publisher\n"
        "assert not {'flask', 'werkzeug', 'jinja2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENT_SECONDS)


def test_a_decision_reads_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_clock() -> float:
        raise AssertionError("the clock was read")

    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, no_clock)
    application = Application()
    assert isinstance(
        answered(decide(visit({"ticket": [ticket()]}), RULES, NOW), application.answer), Admitted
    )
