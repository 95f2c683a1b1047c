"""GET /spy: all streams in one response."""

import re

from tests.support.running import Loom


async def test_spy_shows_new_streams_their_bytes_and_their_ends(loom: Loom):
    spy = await loom.get("/spy")
    assert (spy.head.status, spy.head["content-type"]) == (200, "text/plain; charset=utf-8")
    assert (spy.head["x-accel-buffering"], spy.head["transfer-encoding"]) == ("no", "chunked")
    one = await loom.live("/stream/one%20b", b"hello ")
    await one.chunk("wörld\n".encode())
    assert await spy.until("wörld\n".encode()) == "START: one b\none b:\nhello wörld\n".encode()
    await one.chunk(b"")
    assert await spy.until(b"END: one b\n")


async def test_with_color_each_stream_has_its_own_and_ids_are_bold(loom: Loom):
    spy, plain = await loom.get("/spy?color"), await loom.get("/spy?colour=no")
    for id in ("one", "two"):
        await loom.stored(f"/stream/{id}", b"hello\n")
    shown = await spy.until(b"END: \x1b[1;33mtwo\x1b[0m\n")
    assert b"START: \x1b[1;32mone\x1b[0m\n" in shown
    assert b"\x1b[32mhello\n\x1b[0m" in shown
    assert b"\x1b[33mhello\n\x1b[0m" in shown
    assert re.sub(rb"\x1b\[[0-9;]*m", b"", shown) == await plain.until(b"END: two\n")


async def test_a_spy_shows_streams_that_are_already_live(loom: Loom):
    producer = await loom.live("/stream/one", b"before\n")
    spy = await loom.get("/spy")
    await producer.chunk(b"after\n")
    shown = await spy.until(b"after\n")
    assert b"START: one\n" in shown
    await producer.chunk(b"")
    assert b"END: one\n" in await spy.until(b"END: one\n")


async def test_a_spy_of_a_prefix_as_events(loom: Loom):
    live = await loom.live("/stream/build/1", "é".encode() + b"\xc3")
    await loom.live("/stream/other", b"not shown\n")
    spy = await loom.get("/spy?prefix=build/", accept="text/event-stream")
    assert (spy.head.status, spy.head["content-type"]) == (200, "text/event-stream")
    key = (await loom.store.info("build/1")).key
    begin = f'event: start\ndata: {{"id": "build/1", "key": "{key}", "offset": 3}}\n\n'
    joined = begin + "event: joined\ndata: {}\n\n"
    assert await spy.take(len(joined)) == joined.encode()
    await loom.stored("/stream/other/2", b"not shown either\n")
    await live.chunk(b"\xa9" + "ü\n".encode() + b"\xc3")
    shown = f'data: {{"key": "{key}", "offset": 7, "text": "\ufffdü\\n"}}\n\n'.encode()
    assert await spy.take(len(shown)) == shown, "whole characters, and the offset after them"
    await live.chunk(b"")
    end = begin.replace("start", "end").replace('"offset": 3', '"offset": 8')
    assert b"not shown" not in await spy.until(end.encode())


async def test_a_spy_that_disconnects_is_released(loom: Loom):
    spy = await loom.get("/spy")
    logged = loom.logged()
    spy.reset()
    line = await logged
    assert (line["path"], line["cut"]) == ("/spy", "the client left")
