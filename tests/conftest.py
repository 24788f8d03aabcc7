"""Fixtures of all tests."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, Page, expect
from tests.support.brokers import Broker, start_redis, start_valkey
from tests.support.browser import start_chromium
from tests.support.hubs import separate_hubs
from tests.support.leftovers import pytest_runtest_makereport, pytest_runtest_protocol
from tests.support.needs import allow_programs, mark_servers
from tests.support.patience import PATIENT_SECONDS
from tests.support.promises import patient_product

# Hooks of pytest, which finds them here.
__all__ = ["pytest_runtest_makereport", "pytest_runtest_protocol"]

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast examples are made says something of the machine and nothing of us.
settings.register_profile("here", settings.default, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")

# For what a page must show; the same holds for what it is asked for, see ``chromium``.
expect.set_options(timeout=PATIENT_SECONDS * 1000)

# Applications that web servers of the tests import; they ask for the settings that these pass on.
collect_ignore_glob = ["*/apps/*"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the marker ``server`` before the markers are asked for."""
    mark_servers(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep tests without the marker from starting servers."""
    allow_programs(item)


@pytest.fixture(scope="session", autouse=True)
def hubs_apart_from_the_users() -> Iterator[None]:
    """Keep the hubs of all tests away from the user's own."""
    with separate_hubs():
        yield


@pytest.fixture(scope="session", autouse=True)
def answers_may_take_their_time() -> Iterator[None]:
    """Let no test fail by a limit of the product that it does not test."""
    with patient_product():
        yield


@pytest.fixture
def runtime_directory() -> Iterator[str]:
    """A directory for the hubs of one test, so that it meets none of another test's."""
    with separate_hubs() as directory:
        yield directory


@pytest.fixture(scope="session")
def valkey() -> Iterator[Broker]:
    """A Valkey server that all tests share; take a :func:`channel` of your own."""
    with start_valkey() as broker:
        yield broker


@pytest.fixture
def own_valkey() -> Iterator[Broker]:
    """A Valkey server of one test, which may empty it and count what is asked of it.

    No hub of another test is connected, and no revocation of another test is in it: hubs write those that
    they find there into a file.
    """
    with start_valkey() as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Broker]:
    """A Redis server that all tests share; take a :func:`channel` of your own."""
    with start_redis() as broker:
        yield broker


@pytest.fixture
def channel() -> str:
    """The name of a channel that no other test uses."""
    return f"channel-{uuid.uuid4().hex[:12]}"


# Not for the whole session: Playwright runs an event loop in this thread while it is started, and
# asyncio.run of other tests would be refused.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of the tests of one module, which have no event loop of their own."""
    with start_chromium() as browser:
        yield browser


@pytest.fixture
def chromium(browser: Browser) -> Iterator[Page]:
    """A page of a fresh visitor; ``page.context.new_page()`` opens more of the same one."""
    with browser.new_context(ignore_https_errors=True) as context:
        context.set_default_timeout(PATIENT_SECONDS * 1000)
        yield context.new_page()
