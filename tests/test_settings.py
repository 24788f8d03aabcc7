"""Settings: every key, in every form that a configuration or an environment gives it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import flask
import pytest

from flask_sse.errors import InvalidSettingError
from flask_sse.settings import (
    History,
    Settings,
    StreamRules,
    check_settings,
    redis_url,
    unknown_settings,
    warn_of_unknown_settings,
)

URL = "redis://localhost"
NO_URL = "Must set a redis connection URL in app config."


def read(**config: Any) -> Settings:
    return Settings.from_mapping({"SSE_REDIS_URL": URL, **config})


def value_of(settings: Settings, field: str) -> object:
    if field.startswith("history."):
        return getattr(settings.history, field.removeprefix("history."))
    return getattr(settings.rules if hasattr(settings.rules, field) else settings, field)


# -- the broker's URL ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"REDIS_URL": "redis://c"}, "redis://c"),
        ({"SSE_REDIS_URL": "redis://b"}, "redis://b"),
        ({"SSE_BROKER_URL": "memory://"}, "memory://"),
        ({"REDIS_URL": "redis://c", "SSE_REDIS_URL": "redis://b"}, "redis://b"),
        (
            {"REDIS_URL": "redis://c", "SSE_REDIS_URL": "redis://b", "SSE_BROKER_URL": "memory://"},
            "memory://",
        ),
        ({"REDIS_URL": "redis://c", "SSE_BROKER_URL": "memory://"}, "memory://"),
        ({"REDIS_URL": "redis://c", "SSE_REDIS_URL": ""}, "redis://c"),
        ({"REDIS_URL": "redis://c", "SSE_REDIS_URL": None, "SSE_BROKER_URL": ""}, "redis://c"),
    ],
)
def test_the_url_is_looked_for_in_1_0_s_order_behind_the_broker_s(config: dict[str, Any], url: str) -> None:
    assert Settings.from_mapping(config).broker_url == url


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"REDIS_URL": "redis://c"}, "redis://c"),
        ({"REDIS_URL": "redis://c", "SSE_REDIS_URL": ""}, "redis://c"),
        ({"REDIS_URL": "redis://c", "SSE_REDIS_URL": "redis://b"}, "redis://b"),
        ({"REDIS_URL": "redis://c", "SSE_BROKER_URL": "memory://"}, "redis://c"),
    ],
)
def test_the_url_of_redis_is_1_0_s_alone(config: dict[str, Any], url: str) -> None:
    assert redis_url(config) == url


NO_URLS: list[dict[str, Any]] = [
    {},
    {"REDIS_URL": ""},
    {"SSE_REDIS_URL": None, "REDIS_URL": None},
    {"SSE_HUB": "?"},
]


@pytest.mark.parametrize("config", NO_URLS)
@pytest.mark.parametrize("reader", [Settings.from_mapping, redis_url])
def test_without_a_url_it_is_1_0_s_key_error(reader: Any, config: dict[str, Any]) -> None:
    with pytest.raises(KeyError) as missing:
        reader(config)

    # 1.0's words first, and then what to do (14.38).
    (text,) = missing.value.args
    assert text.startswith(NO_URL)
    assert "SSE_BROKER_URL" in text
    assert "SSE_REDIS_URL" in text
    assert "memory://" in text or reader is redis_url


def test_the_broker_s_url_is_no_url_of_redis() -> None:
    with pytest.raises(KeyError):
        redis_url({"SSE_BROKER_URL": "redis://a"})


@pytest.mark.parametrize("key", ["SSE_BROKER_URL", "SSE_REDIS_URL", "REDIS_URL"])
def test_a_url_that_is_no_string_is_refused_and_its_password_not_shown(key: str) -> None:
    with pytest.raises(InvalidSettingError, match=f"{key} = .*bytes.* a URL") as refused:
        Settings.from_mapping({key: b"redis://:secret@localhost"})

    assert refused.value.key == key
    assert "secret" not in f"{refused.value!r} {vars(refused.value)}"


def test_the_password_of_a_broker_is_not_shown() -> None:
    settings = Settings.from_mapping({"SSE_BROKER_URL": "redis://:secret@localhost"})

    assert settings.broker_url == "redis://:secret@localhost"
    assert "secret" not in repr(settings)


# -- every key -------------------------------------------------------------------------------------


def test_the_defaults_are_the_documented_ones() -> None:
    assert read() == Settings(
        broker_url=URL,
        hub="auto",
        takeover="auto",
        hub_linger_seconds=60,
        max_event_bytes=256 * 1024,
        max_streams=None,
        max_channels=100_000,
        max_total_backlog_bytes=256 * 1024 * 1024,
        max_channels_per_stream=None,
        require_ticket=False,
        cors_origins=frozenset(),
        history=History(size=1000, seconds=3600),
        history_rules=(),
        slow_rules=(),
        rules=StreamRules(
            heartbeat_seconds=15,
            retry_ms=(2000, 5000),
            max_backlog_bytes=1024 * 1024,
            max_stream_seconds=None,
            max_streams_per_subject=None,
            max_streams_per_address=None,
            may_skip=False,
        ),
    )


# Key, field, what may be set, and what is read.
GOOD: list[tuple[str, str, object, object]] = [
    ("SSE_HUB", "hub", "auto", "auto"),
    ("SSE_HUB", "hub", "thread", "thread"),
    ("SSE_HUB", "hub", "unix:/run/app/hub.sock", "unix:/run/app/hub.sock"),
    ("SSE_TAKEOVER", "takeover", "auto", "auto"),
    ("SSE_TAKEOVER", "takeover", "off", "off"),
    ("SSE_HUB_LINGER_SECONDS", "hub_linger_seconds", 0, 0),
    ("SSE_HUB_LINGER_SECONDS", "hub_linger_seconds", 2.5, 2.5),
    ("SSE_HUB_LINGER_SECONDS", "hub_linger_seconds", "2.5", 2.5),
    ("SSE_HISTORY_SIZE", "history.size", 0, 0),
    ("SSE_HISTORY_SIZE", "history.size", 10, 10),
    ("SSE_HISTORY_SIZE", "history.size", "10", 10),
    ("SSE_HISTORY_SECONDS", "history.seconds", 60, 60),
    ("SSE_HISTORY_SECONDS", "history.seconds", "0.5", 0.5),
    ("SSE_HISTORY_RULES", "history_rules", {}, ()),
    ("SSE_HISTORY_RULES", "history_rules", {"a:*": {"size": 5}}, (("a:*", History(5)),)),
    ("SSE_HISTORY_RULES", "history_rules", None, ()),
    ("SSE_SLOW_RULES", "slow_rules", {"a:*": "skip", "*": "end"}, (("a:*", "skip"), ("*", "end"))),
    ("SSE_SLOW_RULES", "slow_rules", '{"a:*": "skip"}', (("a:*", "skip"),)),
    ("SSE_SLOW_RULES", "slow_rules", {}, ()),
    ("SSE_HEARTBEAT_SECONDS", "heartbeat_seconds", 5, 5),
    ("SSE_HEARTBEAT_SECONDS", "heartbeat_seconds", 0.5, 0.5),
    ("SSE_HEARTBEAT_SECONDS", "heartbeat_seconds", "20", 20),
    ("SSE_RETRY_MS", "retry_ms", 3000, (3000, 3000)),
    ("SSE_RETRY_MS", "retry_ms", 0, (0, 0)),
    ("SSE_RETRY_MS", "retry_ms", "3000", (3000, 3000)),
    ("SSE_RETRY_MS", "retry_ms", "1000-2000", (1000, 2000)),
    ("SSE_RETRY_MS", "retry_ms", "1000 - 2000", (1000, 2000)),
    ("SSE_RETRY_MS", "retry_ms", (1000, 2000), (1000, 2000)),
    ("SSE_RETRY_MS", "retry_ms", [1000, 1000], (1000, 1000)),
    ("SSE_MAX_BACKLOG_BYTES", "max_backlog_bytes", 1, 1),
    ("SSE_MAX_BACKLOG_BYTES", "max_backlog_bytes", "65536", 65536),
    ("SSE_MAX_EVENT_BYTES", "max_event_bytes", 1000, 1000),
    ("SSE_MAX_EVENT_BYTES", "max_event_bytes", "1000", 1000),
    ("SSE_MAX_STREAM_SECONDS", "max_stream_seconds", 3600, 3600),
    ("SSE_MAX_STREAM_SECONDS", "max_stream_seconds", "0.5", 0.5),
    ("SSE_MAX_STREAM_SECONDS", "max_stream_seconds", None, None),
    ("SSE_MAX_STREAMS", "max_streams", 10_000, 10_000),
    ("SSE_MAX_STREAMS", "max_streams", "10000", 10_000),
    ("SSE_MAX_STREAMS", "max_streams", None, None),
    ("SSE_MAX_STREAMS_PER_SUBJECT", "max_streams_per_subject", 10, 10),
    ("SSE_MAX_STREAMS_PER_SUBJECT", "max_streams_per_subject", None, None),
    ("SSE_MAX_STREAMS_PER_ADDRESS", "max_streams_per_address", "50", 50),
    ("SSE_MAX_CHANNELS", "max_channels", "2000", 2000),
    ("SSE_MAX_TOTAL_BACKLOG_BYTES", "max_total_backlog_bytes", "2000", 2000),
    ("SSE_REQUIRE_TICKET", "require_ticket", True, True),
    ("SSE_REQUIRE_TICKET", "require_ticket", "true", True),
    ("SSE_REQUIRE_TICKET", "require_ticket", "0", False),
    ("SSE_CORS_ORIGINS", "cors_origins", "*", frozenset("*")),
    ("SSE_CORS_ORIGINS", "cors_origins", [], frozenset()),
    ("SSE_CORS_ORIGINS", "cors_origins", "", frozenset()),
    ("SSE_CORS_ORIGINS", "cors_origins", ["https://a.example"], frozenset({"https://a.example"})),
    *(
        ("SSE_CORS_ORIGINS", "cors_origins", [origin], frozenset({origin}))
        for origin in (
            "tauri://localhost",
            "capacitor://localhost",
            "ionic://localhost:8100",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "safari-web-extension://1A2B3C4D-0000-4000-8000-1A2B3C4D5E6F",
            "http://my_host:3000",
        )
    ),
    (
        "SSE_CORS_ORIGINS",
        "cors_origins",
        "https://a.example, http://[::1]:5000",
        frozenset({"https://a.example", "http://[::1]:5000"}),
    ),
    ("SSE_MAX_CHANNELS_PER_STREAM", "max_channels_per_stream", 1, 1),
    ("SSE_MAX_CHANNELS_PER_STREAM", "max_channels_per_stream", "3", 3),
    ("SSE_MAX_CHANNELS_PER_STREAM", "max_channels_per_stream", None, None),
]


@pytest.mark.parametrize(("key", "field", "value", "expected"), GOOD)
def test_a_key_sets_its_field_and_no_other(key: str, field: str, value: object, expected: object) -> None:
    settings = read(**{key: value})

    assert value_of(settings, field) == expected
    others = {name for _, name, _, _ in GOOD} - {field}
    assert {name: value_of(settings, name) for name in others} == {
        name: value_of(read(), name) for name in others
    }


WHOLE = {
    "SSE_MAX_BACKLOG_BYTES": "max_backlog_bytes",
    "SSE_MAX_EVENT_BYTES": "max_event_bytes",
    "SSE_MAX_STREAMS": "max_streams",
    "SSE_HISTORY_SIZE": "history.size",
}


@pytest.mark.parametrize("key", sorted(WHOLE))
def test_a_whole_number_stays_one(key: str) -> None:
    field = WHOLE[key]

    assert type(value_of(read(**{key: "7"}), field)) is int


NUMBERS = sorted({key for key, _, value, _ in GOOD if type(value) is int})
NO_NUMBERS: list[object] = ["", "x", "nan", "inf", -1, True, b"5", {}, float("nan"), 10**5000]
BAD: list[tuple[str, object]] = [
    *itertools.product(NUMBERS, NO_NUMBERS),
    *itertools.product(["SSE_SLOW_RULES"], ["skip", "{", [], {"a": "drop"}, {"a": None}, {5: "skip"}, 5]),
    *itertools.product(["SSE_REQUIRE_TICKET"], ["", "yes", 2, -1, 1.0, [], 10**5000]),
    *itertools.product(
        ["SSE_CORS_ORIGINS"],
        [
            "example.com",
            "https://a.example/",
            ["*", "https://a.example"],
            [5],
            5,
            "https://a.example,",
            {"a": 1},
            "null",
            ["null"],
            "HTTPS://a.example",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:80",
            "chrome-extension://abc/page.html",
            "tauri:localhost",
            "://localhost",
        ],
    ),
    ("SSE_HEARTBEAT_SECONDS", 0),
    ("SSE_HEARTBEAT_SECONDS", 1e300),
    ("SSE_HUB_LINGER_SECONDS", "1e300"),
    ("SSE_MAX_STREAM_SECONDS", 10**300),
    ("SSE_HEARTBEAT_SECONDS", [15]),
    ("SSE_MAX_STREAM_SECONDS", 0),
    ("SSE_MAX_STREAM_SECONDS", "-0.5"),
    ("SSE_MAX_BACKLOG_BYTES", 0),
    ("SSE_MAX_EVENT_BYTES", 0),
    ("SSE_MAX_EVENT_BYTES", 1.5),
    ("SSE_MAX_EVENT_BYTES", "1 MiB"),
    ("SSE_MAX_STREAMS", 0),
    ("SSE_MAX_STREAMS", "2.5"),
    ("SSE_MAX_CHANNELS_PER_STREAM", 0),
    ("SSE_HISTORY_SIZE", 1.5),
    ("SSE_HISTORY_SIZE", "many"),
    ("SSE_HISTORY_SIZE", []),
    ("SSE_HISTORY_SECONDS", 0),
    ("SSE_HISTORY_SECONDS", 1e300),
    ("SSE_HISTORY_RULES", "prices:*"),
    ("SSE_HISTORY_RULES", "{"),
    ("SSE_HISTORY_RULES", "[" * 100_000),
    ("SSE_HISTORY_RULES", 5),
    ("SSE_HISTORY_RULES", ["prices:*"]),
    ("SSE_HISTORY_RULES", {"prices:*": 5}),
    ("SSE_HISTORY_RULES", {"prices:*": None}),
    ("SSE_HISTORY_RULES", {"prices:*": {"count": 5}}),
    ("SSE_HISTORY_RULES", {"prices:*": {"size": 5, "ttl": 5}}),
    ("SSE_HISTORY_RULES", {5: {"size": 5}}),
    ("SSE_RETRY_MS", "5000-2000"),
    ("SSE_RETRY_MS", (5000, 2000)),
    ("SSE_RETRY_MS", "1-2-3"),
    ("SSE_RETRY_MS", (1, 2, 3)),
    ("SSE_RETRY_MS", ()),
    ("SSE_RETRY_MS", "-5"),
    ("SSE_RETRY_MS", "1000-"),
    ("SSE_RETRY_MS", 2.5),
    ("SSE_RETRY_MS", (1000, 2000.5)),
    ("SSE_RETRY_MS", (1000, None)),
    ("SSE_HUB", ""),
    ("SSE_HUB", "Auto"),
    ("SSE_HUB", "process"),
    ("SSE_HUB", True),
    ("SSE_HUB", ["auto"]),
    ("SSE_HUB", "unix:"),
    ("SSE_HUB", "unix:hub.sock"),
    ("SSE_HUB", "/run/app/hub.sock"),
    ("SSE_TAKEOVER", "on"),
    ("SSE_TAKEOVER", False),
    ("SSE_TAKEOVER", "OFF"),
]


@pytest.mark.parametrize(
    ("key", "value"), BAD, ids=lambda value: ascii(value) if value != 10**5000 else "huge"
)
def test_a_bad_value_is_refused_by_key_value_and_mend(key: str, value: object) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        read(**{key: value})

    assert refused.value.key == key
    assert refused.value.value is value
    assert str(refused.value).startswith(f"{key} = ")
    assert "cannot be used: " in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("SSE_TAKEOVER", "on", "auto, off"),
        ("SSE_HUB", "on", "auto, thread"),
        ("SSE_HUB", "on", "unix:/"),
        ("SSE_HUB", "unix:hub.sock", "absolute"),
        ("SSE_HEARTBEAT_SECONDS", 0, "above 0"),
        ("SSE_HUB_LINGER_SECONDS", -1, "0 or more"),
        ("SSE_MAX_STREAMS", 0, "whole number of 1 or more"),
        ("SSE_HISTORY_SIZE", -1, "whole number of 0 or more"),
        ("SSE_HISTORY_SECONDS", 0, "above 0"),
        ("SSE_HISTORY_RULES", "prices:*", 'as {"prices:\\*": {"size": 10, "seconds": 60}}'),
        ("SSE_RETRY_MS", "1-2-3", "2000-5000"),
        ("SSE_CORS_ORIGINS", "https://a.example:443", "write https://a.example$"),
        ("SSE_CORS_ORIGINS", ["null"], 'only "\\*" lets them'),
        ("SSE_CORS_ORIGINS", "https://a.example/", "without a path"),
        ("SSE_RETRY_MS", "5000-2000", "lower"),
    ],
)
def test_the_mend_says_what_may_stand_there(key: str, value: object, hint: str) -> None:
    with pytest.raises(InvalidSettingError, match=hint):
        read(**{key: value})


# -- how much of which channel is kept -------------------------------------------------------------


RULES = {"prices:*": {"size": 10}, "prices:gold": {"size": 20}, "[a-c]?": {"seconds": 5}, "off": {"size": 0}}


@pytest.mark.parametrize("rules", [RULES, json.dumps(RULES)], ids=["mapping", "JSON"])
@pytest.mark.parametrize(
    ("channel", "history"),
    [
        ("prices:iron", History(10, 60)),
        ("prices:", History(10, 60)),
        ("prices:gold", History(10, 60)),  # the first pattern that fits
        ("Prices:iron", History(7, 60)),
        ("my prices:iron", History(7, 60)),
        ("b1", History(7, 5)),
        ("b12", History(7, 60)),
        ("off", History(0, 60)),
        ("sse", History(7, 60)),
        ("ü\N{TEST TUBE}", History(7, 60)),
    ],
)
def test_the_first_pattern_that_fits_says_how_much_is_kept_and_what_it_leaves_out_is_inherited(
    rules: object, channel: str, history: History
) -> None:
    settings = read(SSE_HISTORY_SIZE=7, SSE_HISTORY_SECONDS="60", SSE_HISTORY_RULES=rules)

    assert settings.history_of(channel) == history


def test_a_rule_may_say_nothing_and_then_all_is_inherited() -> None:
    settings = read(SSE_HISTORY_RULES={"plain:*": {}, "*": {"size": 0}})

    assert settings.history_of("plain:1") == History()
    assert settings.history_of("other").size == 0


def test_numbers_of_rules_may_be_text_as_those_of_keys_may() -> None:
    settings = read(SSE_HISTORY_RULES={"*": {"size": "5", "seconds": "0.5"}})

    assert settings.history_of("any") == History(5, 0.5)
    assert type(settings.history_of("any").size) is int


@pytest.mark.parametrize(
    ("rule", "name", "hint"),
    [
        ({"size": -1}, "size", "whole number of 0 or more"),
        ({"size": 1.5, "seconds": 1}, "size", "whole number"),
        ({"size": None}, "size", "whole number"),
        ({"seconds": 0}, "seconds", "above 0"),
        ({"size": 1, "seconds": "soon"}, "seconds", "above 0"),
    ],
)
@pytest.mark.parametrize("write", [dict, json.dumps], ids=["mapping", "JSON"])
def test_a_bad_number_of_a_rule_is_refused_by_its_name(
    rule: dict[str, object], name: str, hint: str, write: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidSettingError, match=hint) as refused:
        read(SSE_HISTORY_RULES=write({"good": {}, "bad": rule}))

    assert refused.value.key == f"SSE_HISTORY_RULES: {name}"
    assert refused.value.value == rule[name]


def test_the_channels_of_a_stream_that_are_kept_stand_in_one_order() -> None:
    settings = read(SSE_HISTORY_RULES={"off": {"size": 0}})

    assert settings.kept(["b", "off", "a", "Z", "ä"]) == ("Z", "a", "b", "ä")
    assert settings.kept(["off"]) == ()
    assert read(SSE_HISTORY_SIZE=0).kept(["a", "b"]) == ()
    assert read(SSE_HISTORY_SIZE=0, SSE_HISTORY_RULES={"a": {"size": 1}}).kept(["a", "b"]) == ("a",)


# -- other keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("SSE_HEARTBEAT", "SSE_HEARTBEAT_SECONDS"),
        ("SSE_RETRY", "SSE_RETRY_MS"),
        ("SSE_REDIS_URI", "SSE_REDIS_URL"),
        ("SSE_MAX_STREAM", "SSE_MAX_STREAMS"),
        ("SSE_TAKE_OVER", "SSE_TAKEOVER"),
        ("SSE_hub", "SSE_HUB"),
        ("SSE_BROKER", "SSE_BROKER_URL"),
    ],
)
def test_an_unknown_key_of_ours_is_named_with_the_known_one_that_is_near(key: str, near: str) -> None:
    assert read(**{key: "x"}) == read()
    text = unknown_settings({key: "x"})[key]
    assert key in text
    assert f"did you mean {near}?" in text


@pytest.mark.parametrize("key", ["SSE_", "SSE_QQQQ", "SSE_COLOUR", "SSE_ENDPOINT_PREFIX"])
def test_what_is_not_near_is_not_suggested(key: str) -> None:
    text = unknown_settings({key: "x"})[key]
    assert text.endswith(f" {key}")


def test_each_unknown_key_is_warned_of_once_at_the_line_of_the_application() -> None:
    warned: set[str] = set()
    with pytest.warns(UserWarning, match="SSE_COLOUR") as first:
        warn_of_unknown_settings({"SSE_COLOUR": 1}, warned)
    with pytest.warns(UserWarning, match="SSE_SHAPE") as second:
        warn_of_unknown_settings({"SSE_COLOUR": 2, "SSE_SHAPE": 3}, warned)

    assert [entry.filename for entry in (*first, *second)] == [__file__, __file__]


@pytest.mark.parametrize("key", ["SECRET_KEY", "SSE", "sse_hub", "MY_SSE_HUB", "REDIS_HOST", "SSEX_HUB"])
def test_other_keys_are_not_ours(key: str) -> None:
    assert read(**{key: "x"}) == read()
    assert unknown_settings({key: "x"}) == {}


def test_every_known_key_is_known() -> None:
    config = {"SSE_BROKER_URL": "memory://", "REDIS_URL": URL, **{key: value for key, _, value, _ in GOOD}}
    read(**config)
    assert unknown_settings(config) == {}


# -- settings that are there already --------------------------------------------------------------


@pytest.mark.parametrize(("key", "value"), [("SSE_HUB", "process"), ("REDIS_URL", "localhost:6379")])
def test_settings_that_are_there_are_checked_although_others_may_still_come(key: str, value: str) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        check_settings({key: value})
    assert refused.value.key == key
    check_settings({})
    check_settings({"SSE_HUB": "auto"})


# -- from the environment --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("FLASK_SSE_RETRY_MS", "2000-5000", "retry_ms", (2000, 5000)),
        ("FLASK_SSE_RETRY_MS", "[100, 200]", "retry_ms", (100, 200)),
        ("FLASK_SSE_RETRY_MS", "1000", "retry_ms", (1000, 1000)),
        ("FLASK_SSE_HEARTBEAT_SECONDS", "2.5", "heartbeat_seconds", 2.5),
        ("FLASK_SSE_MAX_STREAMS", "null", "max_streams", None),
        ("FLASK_SSE_HISTORY_SIZE", "0", "history.size", 0),
        ("FLASK_SSE_HISTORY_RULES", '{"a": {"size": 5}}', "history_rules", (("a", History(5)),)),
        ("FLASK_SSE_HUB", "thread", "hub", "thread"),
        ("FLASK_SSE_HUB", '"thread"', "hub", "thread"),
        ("FLASK_SSE_TAKEOVER", "off", "takeover", "off"),
    ],
)
def test_flask_s_own_reading_of_the_environment_will_do(
    variable: str, text: str, field: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_SSE_REDIS_URL", URL)
    monkeypatch.setenv(variable, text)
    config = flask.Config(".")
    config.from_prefixed_env()

    settings = Settings.from_mapping(config)

    assert settings.broker_url == URL
    assert value_of(settings, field) == expected


def test_the_environment_itself_will_do() -> None:
    environment: Mapping[str, str] = {
        "PATH": "/bin",
        "SSE_REDIS_URL": URL,
        "SSE_HUB": "unix:/run/hub.sock",
        "SSE_HUB_LINGER_SECONDS": "5",
        "SSE_HEARTBEAT_SECONDS": "7.5",
        "SSE_RETRY_MS": "1-2",
        "SSE_MAX_BACKLOG_BYTES": "3",
        "SSE_MAX_EVENT_BYTES": "4",
        "SSE_MAX_STREAM_SECONDS": "5",
        "SSE_MAX_STREAMS": "6",
        "SSE_MAX_CHANNELS_PER_STREAM": "7",
        "SSE_MAX_CHANNELS": "12",
        "SSE_MAX_STREAMS_PER_SUBJECT": "13",
        "SSE_MAX_STREAMS_PER_ADDRESS": "14",
        "SSE_REQUIRE_TICKET": "1",
        "SSE_CORS_ORIGINS": "https://a.example",
        "SSE_TAKEOVER": "off",
        "SSE_HISTORY_SIZE": "8",
        "SSE_HISTORY_SECONDS": "9",
        "SSE_HISTORY_RULES": '{"a": {"size": 10}}',
        "SSE_SLOW_RULES": '{"a": "skip"}',
        "SSE_DRAIN_SECONDS": "11",
        "SSE_MAX_TOTAL_BACKLOG_BYTES": "15",
    }
    history, rules = History(8, 9), (("a", History(10, 9)),)

    assert Settings.from_mapping(environment) == Settings(
        broker_url=URL,
        hub="unix:/run/hub.sock",
        takeover="off",
        hub_linger_seconds=5,
        drain_seconds=11,
        max_event_bytes=4,
        max_streams=6,
        max_channels=12,
        max_total_backlog_bytes=15,
        max_channels_per_stream=7,
        require_ticket=True,
        cors_origins=frozenset({"https://a.example"}),
        history=history,
        history_rules=rules,
        slow_rules=(("a", "skip"),),
        rules=StreamRules(7.5, (1, 2), 3, 5, 13, 14),
    )


def test_a_stream_may_skip_where_all_its_channels_may() -> None:
    settings = read(SSE_SLOW_RULES={"a:slow": "end", "a:*": "skip"})

    assert settings.rules_of(["a:1", "a:2"]).may_skip
    assert not settings.rules_of(["a:1", "b"]).may_skip
    assert not settings.rules_of(["a:slow"]).may_skip
