"""What a generator may rely on: one task, the context of its request, and that it is closed."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar, copy_context

import anyio
import pytest
from flask import Flask, g, request, session
from tests.support.local import LocalServer, make_app
from werkzeug.wrappers import Response

from flask_sse import sse
from flask_sse.extension import call_in_contexts
from flask_sse.producing.source import Items, Source

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture
def app() -> Flask:
    """An application with streams, its hub in a thread of this process."""
    app = make_app(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", SSE_HUB="thread", SSE_HEARTBEAT_SECONDS=0.2)
    app.secret_key = "secret"
    return app


@pytest.fixture(params=["response", "run"])
def follow(request: pytest.FixtureRequest, app: Flask) -> Callable[[Callable[[], Items]], list[str]]:
    """Let a view answer with a generator, and return what a page gets of it, either way."""

    def follow(generator: Callable[[], Items]) -> list[str]:
        @app.get("/answer")
        def answer() -> Response | str:
            token = tenant.set("ann")
            session["user"] = "ann"
            g.db = "closed by the teardown of the request"
            items = generator()
            answer = sse.response(items) if request.param == "response" else sse.run(items)
            tenant.reset(token)
            return answer

        with LocalServer(app) as server:
            path = "/answer?q=why"
            if request.param == "run":
                path = f"/stream?channel={server.get(path).body.decode()}"
            with server.stream(path) as stream:
                assert stream.wait_closed() == "eof"
                count = stream.raw.count(b"\ndata:")
                return [event.data for event in stream.events(count) if not event.type.startswith("run-")]

    return follow


Follow = Callable[[Callable[[], Items]], list[str]]
FINISHED = '"reason": "finished"}'


def gathered(source: Source) -> list[object]:
    items: list[object] = []

    def take(item: object) -> bool:
        items.append(item)
        return True

    source.send_to(take)
    return items


def test_task_groups_of_anyio_and_asyncio_hold_over_a_yield(follow: Follow) -> None:  # 14.27
    async def work() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.01)
            yield "anyio"
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(asyncio.sleep(0.01, "asyncio"))
            yield "between"
        yield task.result()

    *items, end = follow(work)
    assert items == ["anyio", "between", "asyncio"]
    assert end.endswith(FINISHED)


def test_context_variables_of_a_generator_are_set_and_reset_across_yields(follow: Follow) -> None:  # 14.27
    async def work() -> AsyncIterator[str]:
        token = tenant.set("within")
        yield "first"
        yield tenant.get()
        tenant.reset(token)
        yield tenant.get()

    *items, end = follow(work)
    assert items == ["first", "within", "ann"]
    assert end.endswith(FINISHED)


def test_a_time_out_around_a_yield_ends_the_block_also_where_the_generator_never_waits() -> None:  # 14.27
    async def work() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(0.05):
                while True:
                    yield "again"
        except TimeoutError:
            yield "timed out"

    assert gathered(Source(work()))[-1] == "timed out"


def test_a_task_that_fails_ends_its_group_where_the_generator_yields() -> None:  # 14.27
    async def fail() -> None:
        raise ValueError("in the background")

    async def work() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            while True:
                yield 1

    with pytest.raises(ExceptionGroup) as caught:
        Source(work()).send_to(lambda _: True)
    assert caught.group_contains(ValueError, match="in the background")


def test_a_generator_that_is_not_wanted_any_more_cancels_the_tasks_of_its_group(
    caplog: pytest.LogCaptureFixture,
) -> None:  # 14.27
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("background")

    async def work() -> AsyncIterator[int]:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(background())
                await asyncio.sleep(0)
                while True:
                    yield 1
        finally:
            await asyncio.sleep(0.01)
            ended.append("generator")

    source = Source(work())
    source.send_to(lambda _: False)
    assert ended == ["background", "generator"]
    stopped = Source(work())
    timer = threading.Timer(0.05, stopped.stop)
    timer.start()
    stopped.send_to(lambda _: True)
    timer.join()
    assert ended == 2 * ["background", "generator"]
    assert caplog.text == ""


def test_what_a_generator_does_when_it_is_cancelled_is_not_cancelled_again() -> None:  # 14.27
    ended = threading.Event()

    async def work() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            stop()
            await asyncio.sleep(0.05)
            ended.set()

    source = Source(work())
    stop = source.stop
    timer = threading.Timer(0.05, source.stop)
    timer.start()
    source.send_to(lambda _: True)
    timer.join()
    assert ended.is_set()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_generator_has_request_session_and_context_variables_and_a_g_of_its_own(
    follow: Follow, *, is_async: bool
) -> None:  # 14.27
    def seen() -> str:
        return f"{request.args['q']} {session['user']} {tenant.get()} {'db' in g}"

    def work() -> Iterator[str]:
        yield seen()
        g.db = "open"
        yield g.db

    async def work_async() -> AsyncIterator[str]:
        for item in work():
            await asyncio.sleep(0)
            yield item

    *items, end = follow(work_async if is_async else work)
    assert items == ["why ann ann False", "open"]
    assert end.endswith(FINISHED)


def test_g_is_new_also_where_threads_inherit_contexts(app: Flask) -> None:  # 14.27
    seen: list[bool] = []
    with app.test_request_context():
        g.db = "of the request"
        call = call_in_contexts()
        copy_context().run(call, lambda: seen.append("db" in g))
    assert seen == [False]


def test_an_attribute_error_on_g_is_explained_in_the_log(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:  # 14.27
    def work() -> Iterator[str]:
        yield "first"
        yield g.user

    first, end = follow(work)
    assert first == "first"
    assert '"failed"' in end
    assert "flask.g has no 'user' here" in caplog.text
    assert "with a g of its own" in caplog.text


def test_other_attribute_errors_are_not_explained_by_g(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> Iterator[str]:
        yield "first"
        yield request.nothing  # type: ignore[attr-defined]

    assert '"failed"' in follow(work)[-1]
    assert "has no attribute 'nothing'" in caplog.text
    assert "flask.g" not in caplog.text
