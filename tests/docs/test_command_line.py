"""The page on the command line has what ``flask-sse hub --help`` and ``flask sse ... --help`` say."""

from __future__ import annotations

import re
import subprocess

import click
import pytest
from tests.docs.snippets import DOCS, SCRIPTS

from flask_sse.commands import sse_group

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
        said = re.search(r"`*(\w+)`* if you do not say", text)
        assert (said and said[1]) == (default and default[1]), name


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
