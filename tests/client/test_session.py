"""How responses become errors, with a server that the test plays."""

import asyncio
import json

import pytest

from loom.client.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    Lost,
    NotFound,
    OutOfRange,
    Refused,
    Replaced,
    Unauthorized,
    Unavailable,
)
from loom.client.session import Backoff, Session, Timeouts


def answer(status, body=b"", *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def ask(session, listener, reply, **options):
    async def play():
        peer = await listener.accept()
        head = await peer.head()
        await peer.send(reply)
        return head

    playing = asyncio.create_task(play())
    try:
        async with session.request("GET", session.stream_url("a b"), **options) as response:
            return response.status, await response.read()
    finally:
        session.head = await playing


async def test_requests_have_the_token_and_responses_are_not_decoded(session, listener):
    assert await ask(session, listener, answer("200 OK", b"body"), headers={"X-A": "b"}) == (200, b"body")
    assert session.head.startswith("GET /stream/a%20b HTTP/1.1\r\n")
    for line in ("Authorization: Bearer t0", "Accept-Encoding: identity", "X-A: b"):
        assert f"{line}\r\n" in session.head


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", Refused),
        ("401 Unauthorized", Unauthorized),
        ("403 Forbidden", Forbidden),
        ("404 Not Found", NotFound),
        ("409 Conflict", Conflict),
        ("412 Precondition Failed", Replaced),
        ("416 Range Not Satisfiable", OutOfRange),
        ("418 I'm a teapot", Refused),
        ("429 Too Many Requests", Unavailable),
        ("503 Service Unavailable", Unavailable),
    ],
)
async def test_problem_becomes_the_error_of_its_status(session, listener, status, kind):
    body = json.dumps({"detail": "No.", "code": "why", "size": 7}).encode()
    with pytest.raises(Refused) as raised:
        await ask(session, listener, answer(status, body, "Retry-After: 3"))
    error = raised.value
    assert type(error) is kind
    assert (str(error), error.code, error.status) == ("No.", "why", int(status[:3]))
    assert (error.problem["size"], error.retry_after) == (7, 3.0)
    assert error.temporary is (kind is Unavailable)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"detail": 5}', b"\xff", b""])
async def test_error_of_a_proxy_is_reported_by_its_status_line(session, listener, body):
    with pytest.raises(Unavailable) as raised:
        await ask(session, listener, answer("502 Bad Gateway", body))
    assert (str(raised.value), raised.value.code) == ("The server answered 502 Bad Gateway.", "unavailable")


async def test_redirect_is_an_error_and_carries_no_token_away(session, listener):
    with pytest.raises(Refused, match="302 and points to http://login/; it was not followed"):
        await ask(session, listener, answer("302 Found", b"", "Location: http://login/"))


async def test_server_that_refuses_connections_is_lost(session, listener):
    await listener.close()
    with pytest.raises(Lost, match="cannot be reached: no program listens there"):
        async with session.request("GET", session.url("/healthz")):
            pass


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_connection_that_breaks_is_lost(session, listener, reply):
    async def play():
        # aiohttp repeats an idempotent request once.
        for _ in range(2):
            peer = await listener.accept()
            await peer.head()
            await peer.send(reply)
            peer.writer.close()

    playing = asyncio.create_task(play())
    with pytest.raises(Lost):
        async with session.request("GET", session.url("/")) as response:
            await response.read()
    playing.cancel()


async def test_silent_server_is_lost_but_not_for_a_follower(listener):
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Session(listener.url, timeouts=Timeouts(answer=0.1, read=0.1)) as session:
        with pytest.raises(Lost, match="did not answer in time"):
            await ask(session, listener, b"")
        with pytest.raises(Lost):
            await ask(session, listener, begun)
        async with asyncio.timeout(5):
            following = asyncio.create_task(ask(session, listener, begun, follow=True))
            done, _ = await asyncio.wait({following}, timeout=0.5)
            assert not done
            following.cancel()


@pytest.mark.parametrize(
    ("server", "options"),
    [
        ("localhost:3060", {}),
        ("ftp://x", {}),
        ("http://x?y", {}),
        ("http://x", {"token": "a b"}),
        ("http://x", {"token": ""}),
        ("http://x", {"proxy": "x"}),
        ("http://u:p@x", {"token": "t"}),
    ],
)
def test_invalid_arguments_are_refused(server, options):
    with pytest.raises(InvalidRequest):
        Session(server, **options)


def test_invalid_id_is_refused():
    with pytest.raises(InvalidRequest, match="segment"):
        Session("http://x").stream_url("a//b")


async def test_server_may_have_a_path():
    session = Session("http://x/loom/")
    assert str(session.stream_url("é/%", {"offset": "5"})) == "http://x/loom/stream/%C3%A9/%25?offset=5"


async def test_backoff_raises_the_error_when_patience_runs_out():
    backoff = Backoff(0.2, first=0.01)
    error = Lost("gone")

    async def attempts():
        while True:
            await backoff.wait(error)

    with pytest.raises(Lost) as raised:
        await attempts()
    assert raised.value is error


async def test_backoff_raises_an_error_that_is_not_temporary():
    with pytest.raises(NotFound):
        await Backoff(None).wait(NotFound(404, "No."))


async def test_backoff_raises_if_the_server_asks_for_more_than_patience():
    with pytest.raises(Unavailable):
        await Backoff(10).wait(Unavailable(503, "Later.", retry_after=11))
