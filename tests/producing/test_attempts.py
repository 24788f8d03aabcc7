"""One producer at a time works on a run, and a cancellation stops only what it means."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.brokers import Broker
from tests.support.local import LocalServer, make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, wait_until

from flask_sse import Message, Publisher, RunInProgressError, UsageError, new_run, sse
from flask_sse.channels import check_channel
from flask_sse.errors import InvalidChannelError, InvalidMessageError
from flask_sse.hub.core import runs
from flask_sse.producing import attempt, producer
from flask_sse.testing import capture
from flask_sse.wire.cursor import EARLIEST
from flask_sse.wire.run import lease_channel, state_channel

PRODUCER = Path(__file__).parent / "producer.py"


@pytest.fixture(params=["memory", "valkey"])
def publisher(request: pytest.FixtureRequest) -> Iterator[Publisher]:
    """One over either broker, whose hub is a thread."""
    if request.param == "memory":
        url = f"memory://{uuid.uuid4().hex}"
    else:
        valkey: Broker = request.getfixturevalue("valkey")
        url = valkey.url
    publisher = Publisher(url, SSE_HUB="thread")
    yield publisher
    publisher.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes parts of them; five times as long a silence is still a death."""
    for module in (producer, attempt):
        monkeypatch.setattr(module, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(producer, "ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(attempt, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(attempt, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(runs, "LOST_SECONDS", 1.0)


class Work:
    """A generator that yields once and waits until it is told to end."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.is_closed = threading.Event()

    def __call__(self) -> Iterator[str]:
        try:
            yield "first"
            self.has_begun.set()
            while not self.may_end.wait(0.02):
                yield "again"
        finally:
            self.is_closed.set()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Publisher, Work, str], Callable[[], str]]]:
    """Let a publisher produce in a thread; what it returns waits for the end and tells how it ended."""
    works: list[Work] = []
    with ThreadPoolExecutor() as threads:

        def start(publisher: Publisher, work: Work, channel: str) -> Callable[[], str]:
            works.append(work)
            future = threads.submit(publisher.produce, work(), channel)
            assert work.has_begun.wait(PATIENT_SECONDS)
            return lambda: future.result(PATIENT_SECONDS)

        yield start
        for work in works:
            work.may_end.set()


Start = Callable[[Publisher, Work, str], Callable[[], str]]


# -- names ---------------------------------------------------------------------------------------------------


def test_a_name_is_exact_and_a_prefix_is_made_one_that_cannot_be_guessed() -> None:  # 14.28
    assert new_run("export-7") == "run:export-7"
    first, second = new_run(prefix="ann-"), new_run(prefix="ann-")
    assert first.startswith("run:ann-")
    assert len(first) == len("run:ann-") + 22
    assert first != second
    with pytest.raises(InvalidChannelError, match="empty"):
        new_run("")
    with pytest.raises(InvalidChannelError, match="string"):
        new_run(7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="prefix"):
        new_run("a", prefix="b")


def test_an_empty_channel_is_refused_and_not_made_a_new_one() -> None:  # 14.28
    app = make_app(SSE_BROKER_URL="memory://names", SSE_HUB="thread")
    with app.app_context():
        for channel in ("", "run:", "news"):
            with pytest.raises(UsageError):
                sse.run(iter("ab"), channel)


def test_names_of_every_length_that_is_accepted_work(publisher: Publisher) -> None:
    # 15.6: names of 190 to 196 bytes were accepted and then failed.
    unique = uuid.uuid4().hex
    for length in (189, 190, 196):
        assert publisher.produce(iter("a"), new_run(unique.ljust(length, "x"))) == "finished"
    with pytest.raises(InvalidChannelError):
        new_run("x" * 197)


def test_no_name_of_a_run_cancels_another_one(publisher: Publisher, channel: str) -> None:
    # 15.6: "x:cancel" stopped run "x".
    publisher.publish("no cancellation", channel=new_run(f"{channel}:cancel"))
    assert publisher.produce(iter("a"), new_run(channel)) == "finished"
    assert publisher.produce(iter("a"), new_run(f"{channel}:cancel")) == "finished"
    assert publisher.produce(iter("a"), new_run(channel)) == "finished"


@pytest.mark.parametrize("name", [state_channel("run:x"), lease_channel("run:x"), "flask-sse:run:"])
def test_what_producers_tell_each_other_cannot_be_named_by_users(name: str) -> None:  # 15.6
    with pytest.raises(InvalidChannelError, match="reserved"):
        check_channel(name)
    app = make_app(SSE_BROKER_URL="memory://names", SSE_HUB="thread")
    assert app.test_client().get(f"/stream?channel={name}").status_code == 400


@pytest.mark.parametrize("word", ["run-begin", "run-alive", "run-end"])
def test_only_the_run_itself_says_that_it_begins_lives_and_ends(  # 15.6
    publisher: Publisher, channel: str, word: str
) -> None:
    name = new_run(channel)
    with pytest.raises(InvalidMessageError, match="only the run itself"):
        publisher.produce(iter([Message({"reason": "finished"}, type=word), "never"]), name)
    if word == "run-end":
        with pytest.raises(InvalidMessageError, match="only the run itself"):
            publisher.publish("", type=word, channel=name)
    # Elsewhere it is a type like any other.
    assert publisher.publish("", type=word, channel=channel) >= 0


# -- one at a time -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_second_producer_gets_an_error_while_the_first_one_lives(  # 14.28
    publisher: Publisher, channel: str, in_thread: Start
) -> None:
    name, work, never = new_run(channel), Work(), Work()
    end = in_thread(publisher, work, name)
    with pytest.raises(RunInProgressError) as caught:
        publisher.produce(never(), name)
    assert caught.value.channel == name
    assert not never.has_begun.is_set()
    work.may_end.set()
    assert end() == "finished"
    assert publisher.produce(iter("a"), name) == "finished"


def test_a_second_run_of_a_view_gets_an_error_at_once_and_pages_see_one_run(channel: str) -> None:  # 14.28
    name, work = new_run(channel), Work()
    with LocalServer(make_app(SSE_BROKER_URL="memory://second", SSE_HUB="thread")) as server:
        with server.app.app_context():
            sse.run(work(), name)
            for _ in range(3):
                with pytest.raises(RunInProgressError):
                    sse.run(iter(["from the second"]), name)
        work.may_end.set()
        with server.stream(f"/stream?channel={name}") as stream:
            assert stream.wait_closed() == "eof"
            assert stream.raw.count(b"event:run-begin") == 1
            assert stream.raw.count(b"event:stream-end") == 1
            assert b"from the second" not in stream.raw
        with server.app.app_context():
            sse.run(iter(["from the next"]), name)
        with server.stream(f"/stream?channel={name}") as stream:
            stream.wait_for_bytes(b"from the next")


def test_of_producers_that_begin_at_the_same_time_one_works(
    publisher: Publisher, channel: str
) -> None:  # 14.28
    name = new_run(channel)
    start = threading.Barrier(6)

    def produce() -> str:
        backend = publisher._submitter().run_backend
        attempts = attempt.Attempt(backend.broker, name, backend.history_of(name))
        start.wait(PATIENT_SECONDS)
        try:
            return "works" if attempts.begin() else "cancelled"
        except RunInProgressError:
            return "in progress"

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(produce) for _ in range(6)]
        outcomes = [future.result(PATIENT_SECONDS) for future in futures]
    assert sorted(outcomes) == 5 * ["in progress"] + ["works"]


@pytest.mark.usefixtures("impatient")
def test_a_retry_after_a_crash_waits_until_the_first_is_dead_and_begins_anew(  # 14.28
    valkey: Broker, channel: str
) -> None:
    name = new_run(channel)
    publisher = Publisher(valkey.url)
    app = make_app(SSE_BROKER_URL=valkey.url, SSE_HUB="thread")
    with LocalServer(app) as server, Process([sys.executable, PRODUCER, valkey.url, name]) as process:
        with server.stream(f"/stream?channel={name}") as stream:
            assert [event.type for event in stream.events(2)] == ["run-begin", "message"]
        process.kill()
        assert publisher.produce(iter(["retried"]), name) == "finished"
        with server.stream(f"/stream?channel={name}") as stream:
            assert stream.wait_closed() == "eof"
            told = [event for event in stream.events(5) if event.type != "run-alive"]
    publisher.close()
    assert [event.type for event in told][-3:] == ["run-begin", "message", "stream-end"]
    assert told[-2].data == "retried"


@pytest.mark.usefixtures("impatient")
def test_a_producer_that_was_paused_stops_when_another_one_has_taken_its_place(  # 14.28
    valkey: Broker, channel: str
) -> None:
    name = new_run(channel)
    publisher, taken_over = Publisher(valkey.url), threading.Event()

    def work() -> Iterator[str]:
        yield "second"
        taken_over.set()
        yield "second"

    with Process([sys.executable, PRODUCER, valkey.url, name, "again"]) as process:
        wait_until(
            lambda: publisher.cursor(name).partition(".")[2] != "0-0",
            what="the first one",
        )
        os.kill(process.pid, signal.SIGSTOP)
        try:
            assert publisher.produce(work(), name) == "finished"
        finally:
            os.kill(process.pid, signal.SIGCONT)
        process.wait_for_line("RunInProgressError")
        assert process.wait() != 0
    publisher.close()


# -- cancellations -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_cancelled_name_starts_again(publisher: Publisher, channel: str, in_thread: Start) -> None:  # 15.6
    name, work = new_run(channel), Work()
    end = in_thread(publisher, work, name)
    publisher.cancel(name)
    assert end() == "cancelled"
    assert work.is_closed.is_set()
    assert publisher.produce(iter("a"), name) == "finished"


def test_a_job_that_waits_in_its_queue_is_cancelled_and_what_is_started_later_is_not(  # 15.6
    publisher: Publisher, channel: str
) -> None:
    name = new_run(channel)
    publisher.cancel(name)
    publisher.cancel(name)
    assert publisher.produce(iter("a"), name) == "cancelled"
    assert publisher.produce(iter("a"), name) == "finished"


def test_a_cancellation_of_a_run_that_is_over_does_nothing(channel: str) -> None:  # 15.6
    name = new_run(channel)
    with LocalServer(make_app(SSE_BROKER_URL="memory://over", SSE_HUB="thread")) as server:
        with server.app.app_context():
            sse.run(iter("ab"), name)
            with server.stream(f"/stream?channel={name}") as stream:
                assert stream.wait_closed() == "eof"
            sse.cancel(name)
        with server.stream(f"/stream?channel={name}") as late:
            assert late.wait_closed() == "eof"
            assert late.raw.count(b"event:stream-end") == 1
            assert b"cancelled" not in late.raw
        with server.app.app_context():
            sse.run(iter("cd"), name)
        with server.stream(f"/stream?channel={name}") as again:
            again.wait_for_bytes(b"data:d")


@pytest.mark.usefixtures("impatient")
def test_a_run_that_was_cancelled_and_then_killed_is_not_begun_again_by_its_queue(  # 15.6
    valkey: Broker, channel: str
) -> None:
    name, publisher = new_run(channel), Publisher(valkey.url)
    with Process([sys.executable, PRODUCER, valkey.url, name]) as process:
        wait_until(
            lambda: publisher.cursor(name).partition(".")[2] != "0-0",
            what="the first one",
        )
        os.kill(process.pid, signal.SIGSTOP)
        publisher.cancel(name)
        process.kill()
    assert publisher.produce(iter("a"), name) == "cancelled"
    assert publisher.produce(iter("a"), name) == "finished"
    publisher.close()


@pytest.mark.usefixtures("impatient")
def test_a_long_run_can_be_cancelled_when_the_broker_has_dropped_what_it_wrote_at_its_begin(
    valkey: Broker, channel: str, in_thread: Start
) -> None:
    name, work, publisher = new_run(channel), Work(), Publisher(valkey.url)
    end = in_thread(publisher, work, name)
    for key in valkey.client().scan_iter(f"*{channel}*"):
        if b"state" in key or b"lease" in key:
            valkey.client().delete(key)
    broker = publisher._submitter().run_backend.broker()
    wait_until(lambda: broker.read(state_channel(name), EARLIEST).entries, what="the state")
    wait_until(lambda: broker.read(lease_channel(name), EARLIEST).entries, what="the lease")
    with pytest.raises(RunInProgressError):
        publisher.produce(iter("a"), name)
    publisher.cancel(name)
    assert end() == "cancelled"
    publisher.close()


def test_a_test_that_captures_events_sees_nothing_of_what_producers_tell_each_other(channel: str) -> None:
    name = new_run(channel)
    with capture() as published:
        assert Publisher("memory://captured").produce(iter("a"), name) == "finished"
        assert [each.channel for each in published] == 3 * [name]
