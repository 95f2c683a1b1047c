"""Which bytes are a request, and which are refused."""

import json

import pytest
from tests.http.server.support import CHUNKED_POST, GET, Follower, Seen, answering, send_in_steps, served
from tests.support.wire import Wire

BODY = b"some bytes\x00\xff"
POST = b"POST /a%20b?q=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n" + BODY
CHUNKED = CHUNKED_POST + b"5\r\nsome \r\n7;ext=1\r\nbytes\x00\xff\r\n0\r\nX-Trailer: 1\r\nHost: evil\r\n\r\n"


async def problem_of(client: Wire) -> tuple[int, str]:
    head = await client.answer()
    assert head["content-type"] == "application/problem+json"
    assert head["connection"] == "close"
    document = json.loads(await client.body())
    assert document["status"] == head.status
    assert document["error"]
    assert await client.ended() == b""
    return head.status, document["code"]


@pytest.mark.parametrize("request_", [POST, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("step", [1, 3, 10_000])
async def test_request_is_the_same_in_any_pieces(request_, step):
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await send_in_steps(client, request_, step)
        assert (await client.answer()).status == 200
        assert await client.body() == BODY
        assert await seen.delivered() == (BODY, "end")


async def test_requests_in_one_segment_are_answered_in_order():
    async with served(Seen()) as dial:
        client = await dial()
        await client.send(POST + CHUNKED + GET + POST)
        for expected in (BODY, BODY, b"", BODY):
            await client.answer()
            assert await client.body() == expected


async def test_scope_keeps_the_path_as_it_was_sent():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.request(
            "GET", "/a%2Fb%FF//c;d*?x=%FF&y", x_forwarded_for="1.2.3.4", x_forwarded_proto="https"
        )
        await client.answer()
        scope = seen.scopes[0]
        assert scope["raw_path"] == b"/a%2Fb%FF//c;d*"
        assert scope["query_string"] == b"x=%FF&y"
        assert scope["client"][0] == "127.0.0.1"
        assert scope["scheme"] == "http"
        assert scope["server"] == ("127.0.0.1", client.writer.get_extra_info("peername")[1])


async def test_absolute_target_is_reduced_to_its_path():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.request("GET", "http://localhost/a?b")
        await client.answer()
        assert (seen.scopes[0]["raw_path"], seen.scopes[0]["query_string"]) == (b"/a", b"b")


async def test_trailers_do_not_appear_among_the_headers():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(CHUNKED)
        await client.answer()
        assert [name for name, _ in seen.headers] == [b"host", b"transfer-encoding"]


async def test_whitespace_around_a_value_is_not_a_part_of_it():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.send(
            GET[:-2] + b"A: \t b c \t\r\nTransfer-Encoding: chunked \r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        assert (await client.answer()).status == 200
        assert await client.body() == b"abc"
        assert seen.headers[1:] == [(b"a", b"b c"), (b"transfer-encoding", b"chunked")]


async def test_http_1_0_body_is_read_by_its_length():
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await client.request("POST", "/", body=BODY, version="1.0")
        assert (await client.answer())["connection"] == "close"
        assert await client.ended() == BODY
        assert seen.scopes[0]["http_version"] == "1.0"


HOST = b"Host: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "bad_request"),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400, "bad_request"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET /\r\n\r\n", 505, "http_version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "bad_host"),
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_host"),
        (b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
        (b"GET http://x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501, "unknown_transfer_coding"),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            501,
            "unknown_transfer_coding",
        ),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
            501,
            "unknown_transfer_coding",
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (
            CHUNKED_POST[:-2] + b"Content-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            400,
            "bad_request",
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\nabc", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400, "bad_request"),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc",
            400,
            "bad_request",
        ),
        (CHUNKED_POST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400, "bad_request"),
    ],
)
@pytest.mark.parametrize("step", [1, 10_000])
async def test_invalid_request_is_refused_and_nothing_after_it_is_parsed(request_, status, code, step):
    seen = Seen()
    async with served(seen) as dial:
        client = await dial()
        await send_in_steps(client, request_ + GET, step)
        assert await problem_of(client) == (status, code)
        assert seen.scopes == []


async def test_refusal_waits_for_the_earlier_responses():
    async with served(Seen()) as dial:
        client = await dial()
        await client.send(POST + b"GET / HTTP/1.1\r\n\r\n")
        await client.answer()
        assert await client.body() == BODY
        assert await problem_of(client) == (400, "bad_host")


async def test_refusal_after_a_follower_does_not_interrupt_its_response():
    follower = Follower()
    async with served(follower) as dial:
        client = await dial()
        await client.send(GET)
        await follower.started.wait()
        await client.send(b"nonsense\r\n\r\n")
        await client.answer()
        assert await client.read_chunk() == b"first"
        await client.close()
        await follower.left.wait()


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ],
)
@pytest.mark.parametrize("step", [1, 10_000])
async def test_upgrade_request_is_answered_as_plain_http_with_its_body(upgrade, step):
    seen = Seen()
    data = b"POST / HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Content-Length: 3\r\n\r\nabc" + POST
    async with served(seen) as dial:
        client = await dial()
        await send_in_steps(client, data, step)
        for expected in (b"abc", BODY):
            assert (await client.answer()).status == 200
            assert await client.body() == expected


async def test_head_over_the_limit_is_refused():
    async with served(Seen(), head=1000) as dial:
        fits = GET[:-2] + b"A: " + b"b" * (1000 - len(GET) - 5) + b"\r\n\r\n"
        assert len(fits) == 1000
        client = await dial()
        await client.send(fits)
        assert (await client.answer()).status == 200
        await client.body()
        await client.send(fits.replace(b"A: ", b"A: x"))
        assert await problem_of(client) == (431, "head_too_large")


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 2000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 400,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A" * 2000,
        b"\r\n" * 1000,
    ],
    ids=["request line", "many small headers", "one name", "empty lines"],
)
@pytest.mark.parametrize("step", [7, 10_000])
async def test_endless_head_is_refused(endless, step):
    async with served(Seen(), head=1000) as dial:
        client = await dial()
        await send_in_steps(client, endless, step)
        assert await problem_of(client) == (431, "head_too_large")


async def test_endless_trailers_are_refused_and_end_the_body_as_lost():
    seen = Seen()
    async with served(seen, head=1000) as dial:
        client = await dial()
        await client.send(CHUNKED_POST + b"3\r\nabc\r\n0\r\nA: " + b"b" * 2000)
        assert await seen.delivered() == (b"abc", "disconnect")
        assert await problem_of(client) == (431, "head_too_large")


@pytest.mark.parametrize("step", [7, 10_000])
async def test_endless_chunk_extension_is_refused_and_ends_the_body_as_lost(step):
    seen = Seen()
    async with served(seen, head=1000) as dial:
        client = await dial()
        await send_in_steps(client, CHUNKED_POST + b"3\r\nabc\r\n3;" + b"b" * 2000, step)
        assert await seen.delivered() == (b"abc", "disconnect")
        assert await problem_of(client) == (431, "head_too_large")


async def test_slow_head_after_a_head_request_is_refused_with_a_body():
    async with served(answering(200), head_timeout=0.05) as dial:
        client = await dial()
        await client.send(GET.replace(b"GET", b"HEAD"))
        assert (await client.answer()).status == 200
        await client.send(b"G")
        assert await problem_of(client) == (408, "head_too_slow")


async def test_slow_head_is_refused_even_if_it_trickles():
    async with served(Seen(), head_timeout=0.05) as dial:
        client = await dial()
        await client.send(GET[:5])
        await client.send(GET[5:6])
        assert await problem_of(client) == (408, "head_too_slow")


async def test_time_of_a_head_does_not_run_while_another_request_is_answered():
    follower = Follower()
    async with served(follower, head_timeout=0.01) as dial:
        client = await dial()
        await client.send(GET + GET[:5])
        await follower.started.wait()
        other = await dial()
        await other.send(GET[:5])
        assert (await other.answer()).status == 408
        assert not follower.left.is_set()


async def test_time_of_a_head_begins_when_the_response_before_it_is_complete():
    async with served(answering(200), head_timeout=0.05) as dial:
        client = await dial()
        await client.send(GET + GET[:5])
        assert (await client.answer()).status == 200
        assert await problem_of(client) == (408, "head_too_slow")


async def test_idle_connection_is_closed_without_a_response():
    async with served(answering(200), idle_timeout=0.05) as dial:
        client, silent = await dial(), await dial()
        await client.send(GET)
        await client.answer()
        assert await client.ended() == b""
        assert await silent.ended() == b""


async def test_pipelined_requests_above_the_limit_are_read_later_and_answered():
    async with served(answering(200), pipelined=3) as dial:
        client = await dial()
        await client.send(GET * 20)
        for _ in range(20):
            assert (await client.answer()).status == 200
