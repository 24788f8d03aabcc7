"""Tests that start programs have the marker ``server``, and no other test can start one."""

from __future__ import annotations

import sys
from functools import partial

import pytest
from tests.support import needs, webservers
from tests.support.brokers import start_valkey
from tests.support.local import serve
from tests.support.processes import Process, ProcessError


class Site:
    def __init__(self) -> None:
        self.server = webservers.start


def by_a_module() -> None:
    webservers.start("flask", "app", webservers.SCRIPTS)


def by_a_helper() -> list[Site]:
    return [Site() for _ in range(2)]


def in_this_process() -> None:
    serve(SSE_HUB="thread")


@pytest.mark.parametrize("starts", [by_a_module, by_a_helper, start_valkey, partial(start_valkey, unix=True)])
def test_code_that_leads_to_a_program_needs_the_marker(starts: object) -> None:
    assert needs._starts_program(starts)


@pytest.mark.parametrize("value", [in_this_process, "valkey", None, {}])
def test_all_else_needs_none(value: object) -> None:
    assert not needs._starts_program(value)


@pytest.mark.parametrize("broker", ["memory", "valkey"])
def test_the_name_of_a_fixture_marks_its_row_alone(broker: str, request: pytest.FixtureRequest) -> None:
    is_marked = request.node.get_closest_marker("server") is not None
    assert is_marked == (broker == "valkey")


def test_a_test_without_the_marker_starts_python_alone() -> None:
    with Process([sys.executable, "-c", "print('here', flush=True)"], ready="here"):
        pass
    with pytest.raises(ProcessError, match="marker `server`"):
        Process(["sh", "-c", "exit"])
