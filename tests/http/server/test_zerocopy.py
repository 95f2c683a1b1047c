"""The ASGI extension `http.response.zerocopysend`."""

import asyncio
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from typing import IO, Any, cast

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.http.server.support import GET, Seen, descriptors, part, served, start, wait_until
from tests.support.wire import Cut

from loom.http.server import Limits
from loom.http.server.channel import Channel

CONTENT = os.urandom(1 << 20) * 24
GET_1_0 = GET.replace(b"1.1", b"1.0")


@pytest.fixture(scope="module")
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        file.seek(0)
        yield file


def piece(file: Any, offset: int | None = None, count: int | None = None) -> Message:
    message: Message = {"type": "http.response.zerocopysend", "file": file, "more_body": True}
    if offset is not None:
        message["offset"] = offset
    if count is not None:
        message["count"] = count
    return message


def sending(*messages: Message, length: int | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, [] if length is None else [(b"content-length", b"%d" % length)]))
        for message in messages:
            await send(message)
        await send(part(b"", more=False))

    return app


async def test_pieces_of_files_and_of_memory_keep_their_order(file):
    big = b"b" * 3_000_000  # more than the socket takes: the file has to wait
    app = sending(part(b"a"), piece(file, 5, 10), part(big), piece(file.fileno(), 1, 9_000_000), part(b"c"))
    async with served(app) as dial:
        client = await dial()
        await client.send(GET + GET)
        for _ in range(2):
            await client.answer()
            chunks = [await client.read_chunk() for _ in range(6)]
            assert chunks == [b"a", CONTENT[5:15], big, CONTENT[1:9_000_001], b"c", b""]


async def test_file_waits_for_the_bytes_that_the_transport_buffers(file):
    class Sender(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.channel = Channel(cast(asyncio.Transport, transport), loop, Limits())

        def pause_writing(self) -> None:
            self.channel.on_pause_writing()

        def resume_writing(self) -> None:
            self.channel.on_resume_writing()

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1000)
        accepted, _ = listener.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    transport, sender = await loop.connect_accepted_socket(Sender, accepted)
    fill = 0
    while not transport.get_write_buffer_size():
        sender.channel.write(bytes(20_000))
        fill += 20_000
    sending = asyncio.create_task(sender.channel.send_file(file.fileno(), 0, 100_000))
    assert await reader.readexactly(fill) == bytes(fill)
    assert await reader.readexactly(100_000) == CONTENT[:100_000]
    await sending
    sender.channel.on_lost()
    transport.close()
    writer.close()


@pytest.mark.parametrize("request_", [GET, GET_1_0])
async def test_whole_file_is_framed_by_its_length(file, request_):
    async with served(sending(piece(file), length=len(CONTENT))) as dial:
        client = await dial()
        await client.send(request_)
        assert (await client.answer())["content-length"] == str(len(CONTENT))
        assert await client.body() == CONTENT


async def test_http_1_0_without_a_length_is_framed_by_the_end(file):
    async with served(sending(part(b"a"), piece(file, 10, 1000), part(b"b"))) as dial:
        client = await dial()
        await client.send(GET_1_0)
        await client.answer()
        assert await client.reader.read() == b"a" + CONTENT[10:1010] + b"b"


async def test_empty_piece_does_not_end_the_response(file):
    async with served(sending(piece(file, 0, 0), piece(file, len(CONTENT)), part(b"a"))) as dial:
        client = await dial()
        await client.send(GET)
        await client.answer()
        assert await client.body() == b"a"


async def test_last_message_may_be_a_file(file):
    app = sending({**piece(file, 0, 10), "more_body": False})
    async with served(app) as dial:
        client = await dial()
        await client.send(GET)
        await client.answer()
        assert await client.body() == CONTENT[:10]


async def test_head_request_sends_no_file(file):
    async with served(sending(piece(file), length=len(CONTENT))) as dial:
        client = await dial()
        await client.send(GET.replace(b"GET", b"HEAD") + GET.replace(b"GET", b"HEAD"))
        await client.answer()
        await client.answer()


@pytest.mark.parametrize("length", [None, 5_000_000])
async def test_file_shorter_than_promised_cuts_the_response(length):
    with tempfile.TemporaryFile() as short:
        short.write(bytes(1000))
        short.flush()
        async with served(sending(piece(short, 0, 5_000_000), length=length)) as dial:
            client = await dial()
            await client.send(GET)
            await client.answer()
            with pytest.raises(Cut):
                await client.body()


async def test_slow_reader_stops_the_file_and_not_the_loop(file):
    async with served(sending(piece(file), length=len(CONTENT))) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        other = await dial()
        await other.send(GET)
        await other.answer()
        assert await other.body() == CONTENT
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.answer()
        assert await client.body() == CONTENT


@pytest.mark.parametrize("leave", ["reset", "half_close"])
async def test_reader_that_disconnects_frees_the_app_and_the_descriptors(file, leave):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        app = sending(piece(file), piece(file), piece(file))
        answer = asyncio.ensure_future(app(scope, receive, send))
        started.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        if leave == "half_close":  # the server cannot know that the client does not read
            answer.cancel()
        await asyncio.wait({answer})
        ended.set()

    started, ended = asyncio.Event(), asyncio.Event()
    async with served(app) as dial:
        first = await dial()  # opens what the loop opens once for itself
        await first.close()
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        connected = descriptors()
        await client.send(GET)
        await started.wait()
        await wait_until(lambda: descriptors() > connected)
        getattr(client, leave)()
        await ended.wait()
        await client.close()
        await wait_until(lambda: descriptors() < connected)


async def test_response_cancelled_within_a_file_is_cut(file):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await send(piece(file))
        await send(part(b"more"))

    async with served(app) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await asyncio.sleep(0.1)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert b"more" not in (await client.ended())[-10:]


async def test_extension_is_offered_on_plain_connections_only(certificate):
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(GET)
        await client.answer()
        assert "http.response.zerocopysend" in seen.scopes[0]["extensions"]
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(certificate)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with served(seen, tls=server) as dial:
        client = await dial(trusting)
        await client.send(GET)
        assert (await client.answer()).status == 200
        assert "http.response.zerocopysend" not in seen.scopes[1]["extensions"]
        assert seen.scopes[1]["scheme"] == "https"
