"""How responses are framed, ended, cut and kept apart."""

import asyncio
import json
import time
from email.utils import parsedate_to_datetime

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.http.server.support import (
    CHUNKED_POST,
    GET,
    answering,
    descriptors,
    part,
    served,
    start,
    wait_until,
)
from tests.support.wire import Cut

from loom.errors import StorageFull, StreamAborted

GET_1_0 = GET.replace(b"1.1", b"1.0")
BIG = b"x" * 100_000


def sending(*pieces: bytes, error: BaseException | None = None) -> ASGIApp:
    """Return an app that sends these pieces, and then the end of its response or an error."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        for piece in pieces:
            await send(part(piece))
        if error:
            raise error
        await send(part(b"", more=False))

    return app


async def test_each_piece_is_a_chunk_and_an_empty_piece_is_not_sent():
    async with served(sending(b"", b"a", b"", BIG, b"b")) as dial:
        client = await dial()
        await client.send(GET)
        assert (await client.answer())["transfer-encoding"] == "chunked"
        assert [await client.read_chunk() for _ in range(4)] == [b"a", BIG, b"b", b""]


async def test_head_and_short_body_are_sent_in_one_segment():
    async with served(answering(404, b"nothing")) as dial:
        client = await dial()
        client.writer.write(GET)
        first = await client.reader.read(65536)
        assert first.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert first.endswith(b"\r\n\r\nnothing")


async def test_head_has_the_date_and_does_not_name_the_server():
    async with served(answering(200)) as dial:
        client = await dial()
        await client.send(GET)
        head = await client.answer()
        assert set(head.headers) == {"date", "content-length"}
        assert abs(parsedate_to_datetime(head["date"]).timestamp() - time.time()) < 10


async def test_head_of_an_early_response_arrives_while_the_body_flows():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(201))
        await send(part(b""))
        more = True
        while more:
            more = (await receive())["more_body"]
        await send(part(b"", more=False))

    async with served(app) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        assert (await client.answer()).status == 201
        assert "connection" not in client.head
        await client.chunk(b"a")
        await client.chunk(b"")
        assert await client.read_chunk() == b""
        await client.send(GET)
        assert (await client.answer()).status == 201


@pytest.mark.parametrize("status", [204, 304])
async def test_some_responses_have_no_body(status):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status))
        await send(part(b"", more=False))

    async with served(app) as dial:
        client = await dial()
        await client.send(GET + GET)
        for _ in range(2):
            assert (await client.answer()).status == status
            assert "transfer-encoding" not in client.head


async def test_head_request_is_answered_without_its_body():
    async with served(answering(200, b"body")) as dial:
        client = await dial()
        await client.send(GET.replace(b"GET", b"HEAD") + GET)
        assert (await client.answer())["content-length"] == "4"
        assert (await client.answer())["content-length"] == "4"
        assert await client.body() == b"body"


async def test_http_1_0_response_ends_with_the_connection():
    async with served(sending(b"a", BIG)) as dial:
        client = await dial()
        await client.send(GET_1_0)
        head = await client.answer()
        assert "transfer-encoding" not in head
        assert head["connection"] == "close"
        assert await client.reader.read() == b"a" + BIG


@pytest.mark.parametrize("error", [StreamAborted("gone"), RuntimeError("a bug"), asyncio.CancelledError()])
async def test_chunked_response_that_fails_lacks_its_last_chunk_but_no_byte(error, lines):
    async with served(sending(b"a", BIG, error=error)) as dial:
        client = await dial()
        await client.send(GET)
        await client.answer()
        with pytest.raises(Cut) as cut:
            await client.body()
        assert cut.value.args[0] == b"a" + BIG
    assert len(lines) == isinstance(error, RuntimeError)


async def test_http_1_0_response_that_fails_ends_in_a_reset():
    async with served(sending(b"a", error=StreamAborted("gone"))) as dial:
        client = await dial()
        await client.send(GET_1_0)
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_cut_does_not_wait_for_a_reader_that_does_not_read():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        started.set()
        try:
            async with asyncio.timeout(0.1):
                while True:
                    await send(part(BIG))
        except TimeoutError:
            raise StreamAborted("gone") from None

    started = asyncio.Event()
    async with served(app, cut_timeout=0.05) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await started.wait()
        connected = descriptors()
        await wait_until(lambda: descriptors() < connected)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(StorageFull("No space."), 507, "storage_full"), (RuntimeError("a bug"), 500, "internal")],
)
async def test_app_that_fails_before_its_response_gets_a_problem_sent(error, status, code, lines):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    async with served(app) as dial:
        client = await dial()
        await client.send(GET)
        assert (await client.answer()).status == status
        document = json.loads(await client.body())
        assert document["code"] == code
        assert "bug" not in document["detail"]
    assert [line["exc_info"] for line in lines] == ([error] if status == 500 else [])


async def test_app_that_returns_without_a_response_gets_a_500_sent():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with served(app) as dial:
        client = await dial()
        await client.send(GET)
        assert (await client.answer()).status == 500


async def test_app_that_returns_before_the_end_of_its_response_is_cut():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        await send(part(b"a"))

    async with served(app) as dial:
        client = await dial()
        await client.send(GET)
        await client.answer()
        with pytest.raises(Cut):
            await client.body()


@pytest.mark.parametrize("body", [b"too long for it", b"short"])
async def test_response_that_breaks_its_content_length_is_cut(body):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, [(b"content-length", b"10")]))
        await send(part(body, more=False))

    async with served(app) as dial:
        client = await dial()
        await client.send(GET)
        assert len(await client.ended()) < 200


@pytest.mark.parametrize("header", [(b"x\r\ny", b"1"), (b"x", b"1\r\ny: 2"), (b"x y", b"1")])
async def test_header_that_would_split_the_response_is_never_sent(header):
    async with served(answering(200, headers=[header])) as dial:
        client = await dial()
        await client.send(GET)
        assert (await client.answer()).status == 500


async def test_app_may_ask_to_close_but_not_choose_the_framing():
    asked = [(b"connection", b"close"), (b"transfer-encoding", b"gzip")]
    async with served(answering(200, b"a", asked)) as dial:
        client = await dial()
        await client.send(GET)
        head = await client.answer()
        assert head["connection"] == "close"
        assert "transfer-encoding" not in head
        assert await client.ended() == b"a"


async def test_client_that_asks_to_close_is_closed_after_its_response():
    async with served(answering(200, b"a")) as dial:
        client = await dial()
        await client.send(GET[:-2] + b"Connection: close\r\n\r\n" + GET)
        assert (await client.answer())["connection"] == "close"
        assert await client.ended() == b"a"


async def test_slow_reader_stops_the_app_at_a_bounded_buffer():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        for _ in range(500):
            await send(part(BIG))
            sent.append(len(BIG))
        await send(part(b"", more=False))

    sent: list[int] = []
    async with served(app) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        before = -1
        while not sent or before != len(sent):
            before = len(sent)
            await asyncio.sleep(0.05)
        assert sum(sent) < 20_000_000
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.answer()
        for _ in range(500):
            assert await client.read_chunk() == BIG


async def test_app_that_waits_for_a_reader_is_resumed_when_the_reader_disconnects():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        started.set()
        for _ in range(500):
            await send(part(BIG))
        done.set()

    started, done = asyncio.Event(), asyncio.Event()
    async with served(app) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await started.wait()
        client.reset()
        await done.wait()
