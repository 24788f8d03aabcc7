"""Source: what is iterated in a thread of its own, and stopped from another one.

An asynchronous iterable is iterated from beginning to end by one task of a loop of its own. So task groups,
time-outs and context variables hold over a ``yield``, and a cancellation that arrives while the generator
waits at a ``yield`` is raised there, as one that arrives at an ``await`` is.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from ..errors import UsageError

logger = logging.getLogger(__name__)

Items = Iterable[Any] | AsyncIterable[Any]

_current: ContextVar[Source | None] = ContextVar("flask_sse.source", default=None)


class Source:
    """Items that are produced while a reader wants them.

    Args:
        items: An iterable, best a generator, or an asynchronous one.
        hint: Returns what the log should say about an error of the items, besides the error; ``None`` for
            nothing.

    Raises:
        UsageError: If it is neither, or is asynchronous where gevent has replaced threads, or if the web
            server runs no other threads.
    """

    def __init__(self, items: Items, hint: Callable[[BaseException], str | None] = lambda _: None) -> None:
        if isinstance(items, str | bytes | dict) or not isinstance(items, Iterable | AsyncIterable):
            raise UsageError(
                f"an iterable of events is needed, as a generator is, not {type(items).__name__}"
            )
        if isinstance(items, AsyncIterable) and _threads_are_greenlets():
            raise UsageError("an asynchronous iterable needs real threads, which gevent has replaced here")
        if _threads_stand_still():
            raise UsageError("uWSGI runs no threads of an application; start it with --enable-threads")
        self._items = items
        self._hint = hint
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._waking: list[Callable[[], None]] = []

    @property
    def is_stopped(self) -> bool:
        """Whether no more of it is wanted."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Want no more of it; from any thread.

        An asynchronous iterable is cancelled where it waits. Another one ends where it yields next:
        ``finally`` blocks of a generator are run then.
        """
        self._stopped.set()
        with self._lock:
            if self._task is not None:
                self._task[0].call_soon_threadsafe(self._cancel)
            waking = list(self._waking)
        for wake in waking:
            wake()

    @contextlib.contextmanager
    def woken_by(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``stop`` call ``wake``, from any thread, while the items wait for something of their own."""
        with self._lock:
            self._waking.append(wake)
        try:
            if self.is_stopped:
                wake()
            yield
        finally:
            with self._lock:
                self._waking.remove(wake)

    def abandon(self) -> None:
        """Stop; the test that began it is over."""
        self.stop()

    def send_to(self, take: Callable[[Any], bool]) -> None:
        """Pass each item to a function until there are no more, or it returns ``False``, or ``stop``.

        In one thread, once. Whatever ends it, the iterable is closed; what fails in that is logged.

        Raises:
            RuntimeError: If an asynchronous iterable was cancelled, and not by ``stop``.
            BaseException: What the items or ``take`` raised.
        """
        if self.is_stopped:
            return
        token = _current.set(self)
        try:
            if isinstance(self._items, AsyncIterable):
                self._run_task(self._items, take)
            else:
                self._iterate(self._items, take)
        except BaseException as error:
            hint = self._hint(error)
            if hint is not None:
                error.add_note(hint)
            raise
        finally:
            _current.reset(token)

    def _continues(self, item: Any, take: Callable[[Any], bool]) -> bool:
        return not self.is_stopped and take(item) and not self.is_stopped

    def _iterate(self, items: Iterable[Any], take: Callable[[Any], bool]) -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not self._continues(item, take):
                    break
        finally:
            for each in _to_close(iterator, items):
                with _logged():
                    each.close()

    def _run_task(self, items: AsyncIterable[Any], take: Callable[[Any], bool]) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._await_items(items, take))
        except asyncio.CancelledError as error:
            if not self.is_stopped:
                # Not as it is: it would pass for a cancellation of the caller.
                raise RuntimeError("the asynchronous generator was cancelled from within") from error

    async def _await_items(self, items: AsyncIterable[Any], take: Callable[[Any], bool]) -> None:
        task = asyncio.current_task()
        if task is not None:
            with self._lock:
                self._task = (task.get_loop(), task)
        iterator = aiter(items)
        try:
            await self._iterate_awaited(iterator, take)
        finally:
            with self._lock:
                self._task = None
            with _logged():
                await _cancel_at_yield(iterator)
            for each in _to_close(iterator, items):
                with _logged():
                    await _close_awaited(each)

    async def _iterate_awaited(self, iterator: AsyncIterator[Any], take: Callable[[Any], bool]) -> None:
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                item = await _advance(iterator, cancelled)
            except StopAsyncIteration:
                return
            if not self._continues(item, take):
                return
            cancelled = None
            try:
                # Other tasks and timers of the loop have their turn, also where the generator never waits.
                await asyncio.sleep(0)
            except asyncio.CancelledError as error:
                # It is for the generator, which is at a ``yield``: of its time-out, task group, or our stop.
                cancelled = error

    def _cancel(self) -> None:
        """Cancel the task, once: what it does about that is not cancelled again; in its loop."""
        with self._lock:
            task, self._task = self._task, None
        if task is not None:
            task[1].cancel()


async def _advance(iterator: AsyncIterator[Any], cancelled: asyncio.CancelledError | None) -> Any:
    throw = getattr(iterator, "athrow", None)
    if cancelled is None:
        return await anext(iterator)
    if throw is None:
        raise cancelled
    return await throw(cancelled)


def _to_close(iterator: Any, items: Any) -> Iterator[Any]:
    """Yield what is to be closed, as WSGI does it: a result of a database may have a close() of its own."""
    for each in (iterator,) if iterator is items else (iterator, items):
        if callable(getattr(each, "aclose", None)) or callable(getattr(each, "close", None)):
            yield each


async def _close_awaited(each: Any) -> None:
    result = each.aclose() if callable(getattr(each, "aclose", None)) else each.close()
    if inspect.isawaitable(result):
        await result


async def _cancel_at_yield(iterator: AsyncIterator[Any]) -> None:
    throw = getattr(iterator, "athrow", None)
    if throw is not None:
        # Task groups take a cancellation for what it is, and ``GeneratorExit`` for an error.
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await throw(asyncio.CancelledError())


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Log what a ``finally`` of the items raises: it must not replace the reason for which they ended."""
    try:
        yield
    except Exception:
        logger.exception("a generator failed when it was closed")


def current_source() -> Source | None:
    """Return whose items are being produced in this thread or task; ``None`` elsewhere."""
    return _current.get()


def _threads_are_greenlets() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _threads_stand_still() -> bool:
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and not uwsgi.opt.keys() & {"enable-threads", "threads", "gevent"}
