"""The page on configuration has every setting, as it is, and a label for each sentence of 1.0's page."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from flask import Flask
from tests.stories.docs.snippets import DOCS, read, run

from flask_sse import settings as settings_module
from flask_sse.settings import History, Settings, StreamRules

PAGE = (DOCS / "reference" / "configuration.rst").read_text()
SENTENCES = 15
# What the page says of each default -> the value; None where it depends on more, or means "never".
DEFAULTS = {
    "``auto``": "auto",
    "60": 60.0,
    "1000": 1000,
    "3600": 3600.0,
    "8": 8.0,
    "15": 15.0,
    "2000-5000": (2000, 5000),
    "1048576 (1 MiB)": 1024 * 1024,
    "268435456 (256 MiB)": 256 * 1024 * 1024,
    "262144 (256 KiB)": 256 * 1024,
    "1, or 10 where each channel is decided on": None,
    "90 % of the hub's limit of file descriptors": None,
    "100000": 100_000,
    "200": 200,
    "false": None,
    "none": None,
}


def shown() -> dict[str, str]:
    """Return the settings of the page with their defaults."""
    pattern = r"^\.\. confval:: (\w+)\n +:type: .+\n +:default: (.+)$"
    return dict(re.findall(pattern, PAGE, re.MULTILINE))


def settings_of(app: Flask) -> Settings:
    return Settings.from_mapping(app.config)


def test_every_setting_has_its_place() -> None:
    assert set(shown()) == {*settings_module._BROKER_URL_KEYS, *settings_module._KEYS}


def test_every_default_is_the_one_that_holds() -> None:
    for key, default in shown().items():
        if key in settings_module._KEYS:
            group, field, _ = settings_module._KEYS[key]
            owner = {"": Settings("memory://"), "rules": StreamRules(), "history": History()}[group]
            assert (getattr(owner, field) or None) == DEFAULTS[default], key
        else:
            assert default == "none"


def test_all_defaults_in_one_block_are_the_defaults() -> None:
    app = run("config/every_setting.py")["app"]
    assert set(settings_module._KEYS) < set(app.config)
    given = settings_of(app)
    usual = Settings(given.broker_url)
    assert [f.name for f in fields(Settings) if getattr(given, f.name) != getattr(usual, f.name)] == []


def test_the_first_rule_that_matches_says_how_much_is_kept() -> None:
    settings = settings_of(run("config/history.py")["app"])
    assert settings.history_of("typing-7") == History(size=0)
    assert settings.history_of("order-7") == History(100, 24 * 3600)
    assert settings.history_of("Order-7") == settings.history_of("sse") == History()


def test_a_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://from-environment")
    assert settings_of(run("config/from_environment.py")["app"]).broker_url == "redis://from-environment"
    monkeypatch.delenv("REDIS_URL")
    app = run("config/from_environment.py")["app"]
    with pytest.raises(KeyError, match="Must set a redis connection URL in app config"):
        settings_of(app)


def test_variables_with_flasks_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in read("config/prefixed.env").splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    settings = settings_of(run("config/prefixed.py")["app"])
    assert settings.broker_url == "redis://localhost"
    assert settings.rules.heartbeat_seconds == 10
    assert settings.rules.retry_ms == (1000, 3000)
    assert settings.history_of("typing-7").size == 0


def test_every_sentence_of_the_old_page_has_a_label() -> None:
    assert re.findall(r"^\.\. _v1-(\d\d):$", PAGE, re.MULTILINE) == [
        f"{number:02d}" for number in range(1, SENTENCES + 1)
    ]
