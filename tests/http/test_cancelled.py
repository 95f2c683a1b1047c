"""Handlers that are cancelled, as some servers do when they stop. Called directly: ours cancels last."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message
from tests.support.running import Loom

from loom.model import State


def post(id: str) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": f"/stream/{id}",
        "raw_path": f"/stream/{id}".encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }


async def test_a_cancelled_producer_leaves_its_stream_interrupted_with_every_byte(loom: Loom):
    coming: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    for body in (b"one", b"two"):
        coming.put_nowait({"type": "http.request", "body": body, "more_body": True})
    logged = loom.logged(cut="the server stopped")
    running: asyncio.Future[None] = asyncio.ensure_future(loom.app(post("a"), coming.get, send))
    reader = await loom.follow("/stream/a")
    assert await reader.take(6) == b"onetwo"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    info = await loom.service.info("a")
    assert (info.state, info.size, info.reason) == (State.INTERRUPTED, 6, "the server stopped")
    assert [message.get("more_body") for message in sent] == [None, True]
    assert (await logged)["received"] == 6


async def test_a_producer_cancelled_while_its_stream_is_created_does_not_stay_live(loom: Loom):
    async def nothing() -> Message:
        raise AssertionError

    running: asyncio.Future[None] = asyncio.ensure_future(loom.app(post("a"), nothing, nothing))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await loom.follow("/stream/a")
    assert (await loom.until("a", State.INTERRUPTED)).size == 0
