"""What the app receives of a request's body and of the client's disconnect."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from tests.http.server.support import (
    CHUNKED_POST,
    GET,
    Follower,
    Seen,
    answering,
    part,
    served,
    start,
    wait_until,
)
from tests.support.wire import Wire

from loom.http.server import Server

LENGTH_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [LENGTH_POST + b"last words", CHUNKED_POST + b"a\r\nlast words\r\n"],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("leave", ["reset", "half_close"])
async def test_body_that_breaks_off_is_delivered_to_its_last_byte_and_never_ends(request_, leave):
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(request_)
        message = await seen.messages.get()
        assert (message["body"], message["more_body"]) == (b"last words", True)
        getattr(client, leave)()
        assert await seen.delivered() == (b"", "disconnect")
        assert await client.ended() == b""


@pytest.mark.parametrize("leave", ["reset", "half_close"])
async def test_bytes_received_before_the_disconnect_are_delivered_before_it(leave):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await seen(scope, receive, send)

    seen, go = Seen(), asyncio.Event()
    follower = Follower()
    async with served(app) as dial, served(follower) as dial_other:
        client = await dial()
        await client.send(CHUNKED_POST + b"a\r\nlast words\r\n5\r\nhalf")
        getattr(client, leave)()
        other = await dial_other()
        await other.send(GET)
        await follower.started.wait()  # the server has read all and seen the end by now
        go.set()
        assert await seen.delivered() == (b"last wordshalf", "disconnect")


@pytest.mark.parametrize(
    "bad",
    [
        *(b"zz\r\n", b"3\r\nabcd\r\n", b"\r\n", b"-3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3 \r\nabc\r\n"),
        *(b"3\nabc\r\n", b"3\r\nabc\n0\r\n\r\n", b"0\n\n", b"f" * 17 + b"\r\n", b"3;a\nb\r\nabc\r\n"),
        *(b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nContent-Length: 3\r\n\r\n", b"0\r\nA\r\n\r\n"),
    ],
)
async def test_bad_chunk_ends_the_body_as_lost_and_is_reported_to_the_client(bad):
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(CHUNKED_POST + b"3\r\nabc\r\n" + bad)
        body, end = await seen.delivered()
        assert body.startswith(b"abc")
        assert end == "disconnect"
        assert (await client.answer()).status == 400
        await client.body()
        assert await client.ended() == b""


async def test_bad_chunk_cuts_an_early_response():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(201))
        await send(part(b""))
        await seen(scope, receive, send)

    seen = Seen()
    async with served(app) as dial:
        client = await dial()
        await client.send(CHUNKED_POST + b"3\r\nabc\r\nzz\r\n")
        assert (await client.answer()).status == 201
        assert await seen.delivered() == (b"abc", "disconnect")
        assert await client.ended() == b""


@pytest.mark.parametrize("leave", ["reset", "half_close"])
@pytest.mark.parametrize(
    "following",
    [b"", GET, GET + GET[:7], LENGTH_POST + b"x", GET + CHUNKED_POST],
    ids=["nothing", "request", "request and a half", "body", "two"],
)
async def test_disconnect_of_a_follower_is_reported_whatever_follows_its_request(leave, following):
    follower = Follower()
    async with served(follower) as dial:
        client = await dial()
        await client.send(GET)
        await follower.started.wait()
        await client.send(following)
        getattr(client, leave)()
        await follower.left.wait()


async def test_disconnect_of_a_follower_is_reported_after_more_than_is_read_ahead():
    follower = Follower()
    async with served(follower, dead_check=0.01) as dial:
        client = await dial()
        await client.send(GET)
        await follower.started.wait()
        client.writer.write(LENGTH_POST.replace(b"100", b"9000000") + bytes(1_000_000))
        client.reset()
        await follower.left.wait()


@pytest.mark.parametrize("leave", ["reset", "half_close"])
@pytest.mark.parametrize(
    "sent",
    [
        *(
            b"",
            GET[:9],
            GET,
            GET + GET + GET[:9],
            EXPECTING,
            EXPECTING[:-2],
            LENGTH_POST + b"x",
            CHUNKED_POST,
        ),
        *(CHUNKED_POST + b"5\r\nab", CHUNKED_POST + b"0\r\nA: b", CHUNKED_POST + b"zz\r\n", b"nonsense\r\n"),
    ],
)
async def test_client_that_disconnects_at_any_stage_leaves_nothing_open(leave, sent):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (follower if scope["method"] == "GET" else Seen())(scope, receive, send)

    follower = Follower()
    server = Server(app, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve_until_stopped())
    client = await Wire.open("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    await wait_until(lambda: bool(server.registry.connections))
    await client.send(sent)
    await asyncio.sleep(0)
    getattr(client, leave)()
    await server.registry.wait_empty()
    await client.close()
    server.stop()
    await serving


async def test_client_that_only_stops_sending_still_gets_its_response():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(CHUNKED_POST + b"3\r\nabc\r\n0\r\n\r\n" + GET)
        client.half_close()
        assert (await client.answer()).status == 200
        assert await client.body() == b"abc"
        assert (await client.answer()).status == 200
        assert await client.ended() == b""


async def test_disconnect_is_reported_to_each_receive():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(start(200))
        await send(part(b"to nobody"))
        assert (await receive())["type"] == "http.disconnect"
        done.set()

    done = asyncio.Event()
    async with served(app) as dial:
        client = await dial()
        await client.send(LENGTH_POST)
        client.reset()
        await done.wait()


async def test_slow_app_stops_the_client_at_a_bounded_buffer():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sizes.put_nowait(len((await receive())["body"]))
        started.set()
        await go.wait()
        more = True
        while more:
            message = await receive()
            sizes.put_nowait(len(message["body"]))
            more = message["more_body"]
        await answering(200)(scope, receive, send)

    sizes: asyncio.Queue[int] = asyncio.Queue()
    started, go = asyncio.Event(), asyncio.Event()
    size = 64 << 20
    async with served(app) as dial:
        client = await dial()
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        client.writer.write(bytes(size))
        await started.wait()
        unsent = client.writer.transport.get_write_buffer_size
        before = -1
        while before != unsent():
            before = unsent()
            await asyncio.sleep(0.05)
        assert unsent() > size - (16 << 20)
        go.set()
        await client.answer()
        pieces = [sizes.get_nowait() for _ in range(sizes.qsize())]
        assert sum(pieces) == size
        assert max(pieces) < 1 << 20


async def test_continue_is_sent_once_when_the_app_receives_the_body():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(EXPECTING)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        assert (await client.answer()).status == 200
        assert await client.body() == b"abc"
        await client.send(EXPECTING + b"abc")  # the body is here: no 100 is needed
        assert (await client.answer()).status == 200


async def test_early_success_sends_the_continue_first():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(201))
        await send(part(b""))
        assert (await receive())["body"] == b"abc"
        await send(part(b"", more=False))

    async with served(app) as dial:
        client = await dial()
        await client.send(EXPECTING)
        assert (await client.answer()).status == 100
        assert (await client.answer()).status == 201
        await client.send(b"abc")
        assert await client.body() == b""


async def test_refusal_needs_no_continue():
    async with served(answering(409, b"taken")) as dial:
        client = await dial()
        await client.send(EXPECTING)
        assert (await client.answer()).status == 409
        assert client.head["connection"] == "close"
        assert await client.ended() == b"taken"


async def test_refused_body_gets_no_continue():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(409, [(b"content-length", b"5")]))
        await send(part(b"ta"))
        watching = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send(part(b"ken", more=False))
        assert (await watching)["type"] == "http.disconnect"

    async with served(app) as dial:
        client = await dial()
        await client.send(EXPECTING)
        await client.answer()
        assert await client.ended() == b"taken"


async def test_http_1_0_has_no_continue():
    async with served(Seen()) as dial:
        client = await dial()
        await client.send(EXPECTING.replace(b"1.1", b"1.0") + b"abc")
        assert (await client.answer()).status == 200
        assert await client.ended() == b"abc"
