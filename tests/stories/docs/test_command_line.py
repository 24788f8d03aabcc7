"""The page on the command line has what ``flask-sse hub --help`` and ``flask sse ... --help`` say."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import click
import pytest
from tests.stories.docs.snippets import DOCS
from tests.support.webservers import SCRIPTS

from flask_sse import cli
from flask_sse.commands import sse_group
from flask_sse.hub.client.config import hub_config

WHOLE_PAGE = (DOCS / "reference" / "command-line.rst").read_text()
PAGE, *FOR_DEVELOPERS = re.split(r"^(flask sse \w+)$", WHOLE_PAGE, flags=re.MULTILINE)
HOW_TO = (DOCS / "howto" / "hub.rst").read_text()


@pytest.fixture(scope="module")
def help_text() -> str:
    done = subprocess.run(
        [SCRIPTS / "flask-sse", "hub", "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


def options(text: str) -> dict[str, str]:
    """Return the options of a help text, each with its value, and what is said of it."""
    found = re.split(r"^  (--\S+(?: \S+)*)(?=  |$)", text, flags=re.MULTILINE)[1:]
    return {name: " ".join(said.split()) for name, said in zip(found[::2], found[1::2], strict=True)}


def test_every_option_has_its_place(help_text: str) -> None:
    assert re.findall(r"^\.\. option:: (.+)$", PAGE, re.MULTILINE) == list(options(help_text))


def test_every_default_is_the_one_that_holds(help_text: str) -> None:
    shown = re.split(r"^\.\. option:: (.+)$", PAGE, flags=re.MULTILINE)[1:]
    for name, text in zip(shown[::2], shown[1::2], strict=True):
        default = re.search(r"\[default: (\w+)", options(help_text)[name])
        said = re.search(r"`*(\w+)`* by default", text)
        assert (said and said[1]) == (default and default[1]), name


def test_what_names_the_socket_is_asked_in_the_order_that_is_written(
    help_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 14.43
    given, named = tmp_path / "systemd.sock", tmp_path / "variable.sock"
    monkeypatch.setenv("SSE_HUB", f"unix:{named}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(given))
        assert cli._path(None, [sock]) == cli._path(given, [sock]) == given
        with pytest.raises(click.UsageError, match="is not the socket that systemd passed"):
            cli._path(named, [sock])
    assert cli._path(None, []) == named
    assert cli._path(given, []) == given
    order = "By default the socket that systemd passes, or else the one in SSE_HUB."
    assert order in options(help_text)["--socket FILE"]
    assert order in " ".join(PAGE.replace("``", "").split())


class Reads:
    """Stands for settings, and notes which of them are read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> None:
        self.names.add(name)


def test_the_settings_that_a_hub_reads_are_named_and_no_others() -> None:
    # 14.43
    reads = Reads()
    hub_config(reads)  # type: ignore[arg-type]
    keys = {f"SSE_{name.upper()}" for name in reads.names}
    (listed,) = re.findall(
        r"^Settings are environment variables.+?^The hub reads no others", HOW_TO, re.MULTILINE | re.DOTALL
    )
    assert set(re.findall(r"``(SSE_\w+)``", listed)) == {*keys, "SSE_HUB", "SSE_REDIS_URL"}


def test_every_exit_code_means_what_the_help_says(help_text: str) -> None:
    codes = re.findall(r"^:(\d): (.+)$", PAGE, re.MULTILINE)
    said = "; ".join(f"{code} {meaning}" for code, meaning in codes)
    assert f"Exit codes: {said}." in " ".join(help_text.split())
    assert re.findall(r"^    \* - (\d)$", HOW_TO, re.MULTILINE) == [code for code, _ in codes]


def test_every_command_for_developers_has_its_place_and_its_options() -> None:
    shown = dict(zip(FOR_DEVELOPERS[::2], FOR_DEVELOPERS[1::2], strict=True))
    assert sorted(shown) == [f"flask sse {name}" for name in sorted(sse_group.commands)]
    for name, command in sse_group.commands.items():
        options = [each for each in command.params if isinstance(each, click.Option)]
        names = [", ".join(sorted(each.opts, key=len)) for each in options]
        written = re.findall(
            r"^\.\. option:: (-[^A-Z\n]*?)(?: [A-Z ]+)?$", shown[f"flask sse {name}"], re.MULTILINE
        )
        assert written == names, name
        for option, text in zip(
            options,
            re.split(r"^\.\. option:: .+$", shown[f"flask sse {name}"], flags=re.MULTILINE)[1:],
            strict=True,
        ):
            assert option.help
            said = " ".join(text.replace("``", "").split())
            assert said.startswith(option.help.replace("'", "").rstrip(".")), option.name
