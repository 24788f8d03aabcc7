"""Settings: read once from a mapping such as ``app.config``, checked, and passed down as values."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .caller import warn_caller
from .errors import InvalidSettingError
from .ranges import COUNT, HISTORY_SECONDS, HISTORY_SIZE, POSITIVE_SECONDS, RETRY_MS, SECONDS
from .setting_values import (
    choice,
    flag,
    history_rules,
    hub,
    origins,
    retry_range,
    seconds_in,
    slow_rules,
    whole_in,
)
from .urls import check_url
from .wire.run import is_run
from .wire.text import plain_text

PREFIX = "SSE_"
# 1.0's words, which applications may look for.
_NO_URL = "Must set a redis connection URL in app config."
NO_BROKER_URL = (
    f"{_NO_URL} The keys are SSE_BROKER_URL, SSE_REDIS_URL and REDIS_URL, in this order, as in "
    'SSE_BROKER_URL = "redis://localhost"; "memory://" needs no server, for one machine'
)
NO_REDIS_URL = f"{_NO_URL} sse.redis reads SSE_REDIS_URL, then REDIS_URL, and not SSE_BROKER_URL"

_REDIS_URL_KEYS = ("SSE_REDIS_URL", "REDIS_URL")
_BROKER_URL_KEYS = ("SSE_BROKER_URL", *_REDIS_URL_KEYS)


@dataclass(frozen=True, slots=True)
class History:
    """How much of a channel is kept for clients that were away.

    Attributes:
        size: Events; 0 keeps none.
        seconds: How long an event is kept at least.
    """

    size: int = 1000
    seconds: float = 3600.0


MAX_TOTAL_BACKLOG_BYTES = 256 * 1024 * 1024
# Pages follow a run from its start.
RUN_HISTORY = History(size=10_000, seconds=3600.0)


# Of each rule that is a number.
RULE_RANGES = {
    "heartbeat_seconds": POSITIVE_SECONDS,
    "max_backlog_bytes": COUNT,
    "max_stream_seconds": POSITIVE_SECONDS,
    "max_streams_per_subject": COUNT,
    "max_streams_per_address": COUNT,
}
_MAY_BE_NONE = ("max_stream_seconds", "max_streams_per_subject", "max_streams_per_address")


@dataclass(frozen=True, slots=True)
class StreamRules:
    """What holds for one stream; travels to the hub with the stream.

    Attributes:
        heartbeat_seconds: Longest silence before a comment is sent.
        retry_ms: Lower and upper end of the reconnection time that the client receives, drawn per stream.
        max_backlog_bytes: Unsent bytes at which the stream of a slow client is ended.
        max_stream_seconds: Age at which the stream is ended, spread 80-100 %; ``None`` for never.
        max_streams_per_subject: Most streams of one subject on a hub; ``None`` for any number.
        max_streams_per_address: Most streams of one address on a hub; ``None`` for any number.
        may_skip: Whether a client that is too slow skips to what comes from now on, instead of being
            ended.
    """

    heartbeat_seconds: float = 15.0
    retry_ms: tuple[int, int] = (2000, 5000)
    max_backlog_bytes: int = 1024 * 1024
    max_stream_seconds: float | None = None
    max_streams_per_subject: int | None = None
    max_streams_per_address: int | None = None
    may_skip: bool = False

    @property
    def is_in_range(self) -> bool:
        """Whether each number is one that a setting can have; for rules that came from another process."""
        low, high = self.retry_ms
        return (
            low in RETRY_MS
            and high in RETRY_MS
            and low <= high
            and all(
                (value := getattr(self, name)) in allowed or (value is None and name in _MAY_BE_NONE)
                for name, allowed in RULE_RANGES.items()
            )
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one application, checked.

    Attributes:
        broker_url: Where events are published; not shown, because it may have a password.
        application: The name of the application, which plain ``memory://`` belongs to; ``None`` for a program
            without one.
        hub: ``auto``, ``thread`` or ``unix:/path``.
        takeover: ``auto`` or ``off``.
        hub_linger_seconds: How long a hub that was started by itself outlives its last application.
        drain_seconds: How long a hub that was asked to end takes to end its streams.
        max_event_bytes: Largest event in bytes on the wire.
        max_streams: Most streams of one hub; ``None`` for 90 % of its descriptor limit.
        max_channels: Most channels of one hub.
        max_total_backlog_bytes: Unsent bytes of all clients of one hub together, beyond which those with the
            largest backlogs are ended.
        max_channels_per_stream: Most channels that one stream may ask for; ``None`` for 10 where a rule, a
            ticket or the view decides on each of them, and else 1.
        max_responses: Most responses of generators (``sse.response``) of one process.
        max_runs: Most runs (``sse.run``) of one process.
        require_ticket: Whether a stream needs a ticket.
        cors_origins: Whose pages may listen besides those of the application's own origin; ``*`` for all,
            without their cookies.
        history: How much of a channel is kept.
        history_rules: What holds instead for channels whose name matches a pattern; the first counts.
        slow_rules: What becomes of slow clients of channels whose name matches a pattern, ``end`` or
            ``skip``; the first one counts.
        rules: What holds for each stream.
    """

    broker_url: str = field(repr=False)
    application: str | None = None
    hub: str = "auto"
    takeover: str = "auto"
    hub_linger_seconds: float = 60.0
    drain_seconds: float = 8.0
    max_event_bytes: int = 256 * 1024
    max_streams: int | None = None
    max_channels: int = 100_000
    max_total_backlog_bytes: int = MAX_TOTAL_BACKLOG_BYTES
    max_channels_per_stream: int | None = None
    max_responses: int = 200
    max_runs: int = 200
    require_ticket: bool = False
    cors_origins: frozenset[str] = frozenset()
    history: History = History()
    history_rules: tuple[tuple[str, History], ...] = ()
    slow_rules: tuple[tuple[str, str], ...] = ()
    rules: StreamRules = StreamRules()

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Settings:
        """Read the settings of an application.

        Args:
            config: ``app.config`` or any mapping with the same keys; numbers may be strings, as
                environment variables give them.

        Raises:
            KeyError: If there is no URL of a broker; its text begins with 1.0's.
            InvalidSettingError: If a known key has a value that cannot be used.
        """
        broker_url = _first_url(config, _BROKER_URL_KEYS, NO_BROKER_URL)
        values = _parsed(config)
        own, history = values[""], History(**values["history"])
        patterns = own.pop("history_rules", {}).items()
        own["history_rules"] = tuple((pattern, replace(history, **rule)) for pattern, rule in patterns)
        return cls(broker_url, rules=StreamRules(**values["rules"]), history=history, **own)

    def history_of(self, channel: str) -> History:
        """Return how much of a channel is kept."""
        for pattern, history in self.history_rules:
            if fnmatch.fnmatchcase(channel, pattern):
                return history
        return RUN_HISTORY if is_run(channel) else self.history

    def rules_of(self, channels: Iterable[str]) -> StreamRules:
        """Return what holds for a stream over these channels."""
        if all(self._slow_rule(name) == "skip" for name in channels):
            return replace(self.rules, may_skip=True)
        return self.rules

    def _slow_rule(self, channel: str) -> str:
        rules = (rule for pattern, rule in self.slow_rules if fnmatch.fnmatchcase(channel, pattern))
        return next(rules, "end")

    def kept(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Return those of the channels that have a history, sorted."""
        return tuple(sorted(name for name in channels if self.history_of(name).size))


def redis_url(config: Mapping[str, Any]) -> str:
    """Return 1.0's connection URL: ``SSE_REDIS_URL``, then ``REDIS_URL``.

    Raises:
        KeyError: If neither is set; its text begins with 1.0's.
        InvalidSettingError: If the URL cannot be used.
    """
    return _first_url(config, _REDIS_URL_KEYS, NO_REDIS_URL)


def check_settings(config: Mapping[str, Any]) -> None:
    """Check those settings that are there; others, the URL among them, may still come.

    Raises:
        InvalidSettingError: If a known key has a value that cannot be used.
    """
    with contextlib.suppress(KeyError):
        _first_url(config, _BROKER_URL_KEYS, NO_BROKER_URL)
    _parsed(config)


def _parsed(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {"": {}, "rules": {}, "history": {}}
    for key, (group, name, parse) in _KEYS.items():
        if config.get(key) is not None:
            values[group][name] = parse(key, config[key])
    return values


def _first_url(config: Mapping[str, Any], keys: tuple[str, ...], missing: str) -> str:
    for key in keys:
        url = config.get(key)
        if url and not isinstance(url, str):
            # Its type only: the value may have a password.
            raise InvalidSettingError(key, type(url), "it must be a URL as a string")
        if url:
            url = plain_text(url)
            check_url(key, url)
            return url
    raise KeyError(missing)


def unknown_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a text for each key that begins like ours and is none."""
    known = {key.removeprefix(PREFIX): key for key in (*_BROKER_URL_KEYS, *_KEYS) if key.startswith(PREFIX)}
    texts = {}
    for key in config:
        if key.startswith(PREFIX) and key not in known.values():
            near = difflib.get_close_matches(key.removeprefix(PREFIX).upper(), known, n=1)
            hint = f"; did you mean {known[near[0]]}?" if near else ""
            texts[key] = f"Flask-SSE knows no setting {key}{hint}"
    return texts


def warn_of_unknown_settings(config: Mapping[str, Any], warned: set[str]) -> None:
    """Warn, at the line of the application, of keys that begin like ours and are none; of each once.

    Args:
        config: ``app.config`` or any mapping with the same keys.
        warned: Those that were warned of, to which these are added.
    """
    for key, text in unknown_settings(config).items():
        if key not in warned:
            warned.add(key)
            warn_caller(text)


_RULE: dict[str, Callable[[str, Any], Any]] = {
    "size": whole_in(HISTORY_SIZE),
    "seconds": seconds_in(HISTORY_SECONDS),
}


def _rule(name: str) -> tuple[str, str, Callable[[str, Any], Any]]:
    allowed = RULE_RANGES[name]
    return "rules", name, whole_in(allowed) if allowed.is_whole else seconds_in(allowed)


_KEYS: dict[str, tuple[str, str, Callable[[str, Any], Any]]] = {
    "SSE_HUB": ("", "hub", hub),
    "SSE_TAKEOVER": ("", "takeover", choice("auto", "off")),
    "SSE_HUB_LINGER_SECONDS": ("", "hub_linger_seconds", seconds_in(SECONDS)),
    "SSE_DRAIN_SECONDS": ("", "drain_seconds", seconds_in(SECONDS)),
    "SSE_HISTORY_SIZE": ("history", "size", _RULE["size"]),
    "SSE_HISTORY_SECONDS": ("history", "seconds", _RULE["seconds"]),
    "SSE_HISTORY_RULES": ("", "history_rules", history_rules(_RULE)),
    "SSE_SLOW_RULES": ("", "slow_rules", slow_rules),
    "SSE_HEARTBEAT_SECONDS": _rule("heartbeat_seconds"),
    "SSE_RETRY_MS": ("rules", "retry_ms", retry_range),
    "SSE_MAX_BACKLOG_BYTES": _rule("max_backlog_bytes"),
    "SSE_MAX_TOTAL_BACKLOG_BYTES": ("", "max_total_backlog_bytes", whole_in(COUNT)),
    "SSE_MAX_EVENT_BYTES": ("", "max_event_bytes", whole_in(COUNT)),
    "SSE_MAX_STREAM_SECONDS": _rule("max_stream_seconds"),
    "SSE_MAX_STREAMS": ("", "max_streams", whole_in(COUNT)),
    "SSE_MAX_STREAMS_PER_SUBJECT": (
        "rules",
        "max_streams_per_subject",
        whole_in(RULE_RANGES["max_streams_per_subject"]),
    ),
    "SSE_MAX_STREAMS_PER_ADDRESS": (
        "rules",
        "max_streams_per_address",
        whole_in(RULE_RANGES["max_streams_per_address"]),
    ),
    "SSE_REQUIRE_TICKET": ("", "require_ticket", flag),
    "SSE_CORS_ORIGINS": ("", "cors_origins", origins),
    "SSE_MAX_CHANNELS": ("", "max_channels", whole_in(COUNT)),
    "SSE_MAX_RESPONSES": ("", "max_responses", whole_in(COUNT)),
    "SSE_MAX_RUNS": ("", "max_runs", whole_in(COUNT)),
    "SSE_MAX_CHANNELS_PER_STREAM": ("", "max_channels_per_stream", whole_in(COUNT)),
}
