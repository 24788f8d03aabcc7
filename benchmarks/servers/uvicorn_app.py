"""sse-starlette as its documentation teaches: one queue a client, filled from one Redis subscription."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import redis.asyncio
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

queues: set[asyncio.Queue[str]] = set()


async def listen() -> None:
    async with redis.asyncio.from_url(os.environ["REDIS_URL"]).pubsub() as pubsub:
        await pubsub.subscribe("sse")
        async for message in pubsub.listen():
            if message["type"] == "message":
                for queue in queues:
                    queue.put_nowait(message["data"].decode())


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    task = asyncio.create_task(listen())
    yield
    task.cancel()


async def stream(_: Request) -> EventSourceResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def events() -> AsyncIterator[dict[str, str]]:
        queues.add(queue)
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            queues.discard(queue)

    return EventSourceResponse(events())


app = Starlette(routes=[Route("/stream", stream)], lifespan=lifespan)
