"""Source: what is iterated in a thread of its own, and stopped from another one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from ..errors import UsageError

Items = Iterable[Any] | AsyncIterable[Any]

_current: ContextVar[Source | None] = ContextVar("flask_sse.source", default=None)


class Source:
    """Items that are produced while somebody wants them.

    Args:
        items: An iterable, best a generator, or an asynchronous one.

    Raises:
        UsageError: If it is neither, or is asynchronous where gevent has replaced threads, or if the web
            server runs no other threads.
    """

    def __init__(self, items: Items) -> None:
        if isinstance(items, str | bytes | dict) or not isinstance(items, Iterable | AsyncIterable):
            raise UsageError(
                f"an iterable of events is needed, as a generator is, not {type(items).__name__}"
            )
        if isinstance(items, AsyncIterable) and _threads_are_greenlets():
            raise UsageError("an asynchronous iterable needs real threads, which gevent has replaced here")
        if _threads_stand_still():
            raise UsageError("uWSGI runs no threads of an application; start it with --enable-threads")
        self._items = items
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]] | None = None
        self._waking: list[Callable[[], None]] = []

    @property
    def is_stopped(self) -> bool:
        """Whether nobody wants any more of it."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Want no more of it; from any thread.

        An asynchronous iterable is cancelled where it waits. Another one ends where it yields next:
        ``finally`` blocks of a generator are run then.
        """
        self._stopped.set()
        with self._lock:
            if self._task is not None:
                loop, task = self._task
                loop.call_soon_threadsafe(task.cancel)
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

    def items(self) -> Generator[Any]:
        """Yield the items until they end or are not wanted any more; in one thread, once."""
        if self._stopped.is_set():
            return
        _current.set(self)
        with contextlib.ExitStack() as stack:
            if isinstance(self._items, AsyncIterable):
                iterator: Iterator[Any] = stack.enter_context(contextlib.closing(self._awaited(self._items)))
            else:
                iterator = iter(self._items)
                if isinstance(iterator, Generator):
                    stack.enter_context(contextlib.closing(iterator))
            for item in iterator:
                if self._stopped.is_set():
                    return
                yield item
                if self._stopped.is_set():
                    return

    def _awaited(self, items: AsyncIterable[Any]) -> Generator[Any]:
        with asyncio.Runner() as runner:
            iterator = aiter(items)
            try:
                while True:
                    try:
                        item = runner.run(self._next(iterator))
                    except (StopAsyncIteration, asyncio.CancelledError):
                        return
                    yield item
            finally:
                close = getattr(iterator, "aclose", None)
                if close is not None:
                    runner.run(close())

    async def _next(self, iterator: AsyncIterator[Any]) -> Any:
        task = asyncio.ensure_future(anext(iterator))
        with self._lock:
            self._task = (asyncio.get_running_loop(), task)
        try:
            if self.is_stopped:
                task.cancel()
            return await task
        finally:
            with self._lock:
                self._task = None


def current_source() -> Source | None:
    """Return whose items are being produced in this thread or task; ``None`` elsewhere."""
    return _current.get()


def _threads_are_greenlets() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _threads_stand_still() -> bool:
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and not uwsgi.opt.keys() & {"enable-threads", "threads", "gevent"}
