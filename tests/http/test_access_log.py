"""The access log has one line per request, at its end."""

from tests.support.running import ONE_STORE, Loom, Serve

pytestmark = ONE_STORE


async def test_a_request_is_one_line_at_its_end(loom: Loom):
    logged = loom.logged()
    producer = await loom.connect()
    await producer.post("/stream/a%20b?force=true&token=secret")
    await producer.answer()
    assert not logged.done()
    await producer.chunk(b"data")
    await producer.chunk(b"")
    await producer.body()
    line = await logged
    assert line.pop("seconds") >= 0
    assert line == {
        "event": "request",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/stream/a%20b",
        "status": 201,
        "received": 4,
        "sent": 0,
        "stream": "a%20b",
        "state": "complete",
    }


async def test_a_cut_response_is_logged_with_its_cause(loom: Loom):
    await loom.live("/stream/a", b"data")
    follower = await loom.get("/stream/a")
    await follower.take(4)
    follower_line, producer_line = loom.logged(method="GET", cut="stopped"), loom.logged(method="POST")
    await loom.service.close()
    assert ((await follower_line)["status"], (await follower_line)["state"]) == (200, "live")
    line = await producer_line
    assert (line["status"], line["state"], line["received"], line["cut"]) == (
        201,
        "interrupted",
        4,
        "stopped",
    )


async def test_no_line_holds_a_token(serve: Serve):
    loom = await serve(tokens=["one-token"])
    for given in ("Bearer one-token", "Bearer wrong-token"):
        logged = loom.logged()
        await (await loom.get("/stream/a?token=one-token", authorization=given)).body()
        assert "token" not in repr(await logged)
