"""The ASGI extension `http.response.crowd`: a part of a body that others write."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.http.server.support import GET, part, served, start, wait_until
from tests.support.wire import Cut

GET_1_0 = GET.replace(b"1.1", b"1.0")
HIGH_WATER = 64 << 10
"""Both event loops report that a transport is full from here on."""


class Seat:
    """A member that a test writes to, and that leaves where the test or the server wants it."""

    def __init__(self, *, admitted: bool = True) -> None:
        self.admitted = admitted
        self.joined = asyncio.Event()
        self.left = False

    def join(
        self,
        write: Callable[[bytes], None],
        frame: Callable[[bytes], bytes],
        on_left: Callable[[Exception | None], None],
    ) -> bool:
        self.transport: Any = write.__self__  # type: ignore[attr-defined]
        self.write = lambda data: write(frame(data))
        self._on_left = on_left
        self.joined.set()
        return self.admitted

    def leave(self, error: Exception | None = None) -> None:
        if not self.left:
            self.left = True
            self._on_left(error)


def following(*parts: Seat | bytes, headers: list[tuple[bytes, bytes]] | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.crowd" in scope["extensions"]
        await send(start(200, headers))
        for each in parts:
            message: Message = {"type": "http.response.crowd", "member": each, "more_body": True}
            await send(part(each) if isinstance(each, bytes) else message)
        await send(part(b"", more=False))

    return app


async def test_what_others_write_has_its_place_between_the_parts_of_the_app():
    one, refused, two = Seat(), Seat(admitted=False), Seat()
    async with served(following(one, b"between", refused, two, b"last")) as dial:
        client = await dial()
        await client.send(GET + GET)
        await one.joined.wait()
        await client.answer()  # the head has left although the app sent no part before
        one.write(b"first")
        one.write(b"second")
        one.leave()
        await two.joined.wait()
        two.write(b"third")
        two.leave()
        chunks = [await client.read_chunk() for _ in range(6)]
        assert chunks == [b"first", b"second", b"between", b"third", b"last", b""]


async def test_http_1_0_gets_the_bytes_without_framing():
    seat = Seat()
    async with served(following(b"a", seat, b"c")) as dial:
        client = await dial()
        await client.send(GET_1_0)
        await seat.joined.wait()
        seat.write(b"b")
        seat.leave()
        await client.answer()
        assert await client.reader.read() == b"abc"


async def test_a_response_of_known_length_has_no_crowd():
    async with served(following(Seat(), headers=[(b"content-length", b"5")])) as dial:
        client = await dial()
        await client.send(GET)
        assert await client.ended() == b""


async def test_client_that_lags_leaves_at_once_and_costs_one_buffer():
    seat = Seat()
    line = b"x" * 999 + b"\n"
    async with served(following(seat, b"end")) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await seat.joined.wait()
        written = 0
        while not seat.left:
            seat.write(line)
            written += 1
            if written % 10 == 0:
                await asyncio.sleep(0)
        assert seat.transport.get_write_buffer_size() <= HIGH_WATER + 10 * 1010
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.answer()
        assert await client.body() == line * written + b"end"


@pytest.mark.parametrize("leave", ["reset", "half_close"])
async def test_client_that_disconnects_leaves_at_once(leave):
    seat, ended = Seat(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        sending = asyncio.ensure_future(following(seat)(scope, receive, send))
        assert (await receive())["type"] == "http.disconnect"
        sending.cancel()
        await asyncio.wait({sending})
        ended.set()

    async with served(app) as dial:
        client = await dial()
        await client.send(GET)
        await seat.joined.wait()
        seat.write(b"x")
        getattr(client, leave)()
        await ended.wait()
        assert seat.left


async def test_failed_write_cuts_the_response():
    seat = Seat()
    async with served(following(seat, b"more")) as dial:
        client = await dial()
        await client.send(GET)
        await seat.joined.wait()
        await client.answer()
        seat.leave(RuntimeError("the transport failed"))
        with pytest.raises(Cut):
            await client.body()


async def test_cut_connection_leaves():
    seat = Seat()
    async with served(following(seat)) as dial:
        client = await dial()
        await client.send(GET)
        await seat.joined.wait()
        seat.transport.abort()
        await wait_until(lambda: seat.left)


async def test_crowd_is_offered_over_tls_too(certificate: Path):
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(certificate)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    seat = Seat()
    async with served(following(seat, b"end"), tls=server) as dial:
        client = await dial(trusting)
        await client.send(GET)
        await seat.joined.wait()
        line, written = b"x" * 9_999 + b"\n", 0
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not seat.left:
            seat.write(line)
            written += 1
            await asyncio.sleep(0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.answer()
        assert await client.body() == line * written + b"end"
