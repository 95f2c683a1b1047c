"""The producer that resumes: each byte is stored once, or an error is raised."""

import asyncio
import json
import random
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.network.conftest import between
from tests.support.proxy import CALM, Always, Proxy, Storm
from tests.support.running import ONE_STORE, Loom, Serve, store_kind
from tests.support.wire import Wire

from loom.client import AsyncClient, spool
from loom.client.buffer import Buffer
from loom.client.errors import Conflict, Fenced, InputFailed, Lost, Refused, Replaced, Spooled, Unauthorized
from loom.client.files import Source
from loom.client.producing import Keeping, push, resume
from loom.client.push import Pace, Push, PushProgress
from loom.client.session import Session, Timeouts
from loom.client.uploads import Creation, Uploads, UploadState
from loom.model import State

__all__ = ["between", "store_kind"]

QUICK = Pace(idle=0.3, stall=0.3, gather=0.05, answer=3, retry=0.01, retry_most=0.1, patience=1)
SOON = Timeouts(connect=3, answer=3, read=3)


class Input:
    """An input that the test writes."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def write(self, data: bytes | Exception | None) -> None:
        """Write a chunk; raise an exception from the input; or end it, with None."""
        self._pieces.put_nowait(data)

    def __aiter__(self) -> "Input":
        return self

    async def __anext__(self) -> bytes:
        piece = await self._pieces.get()
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, Exception):
            raise piece
        return piece


async def pieces(data: bytes, size: int = 40_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
        await asyncio.sleep(0)


class Watch:
    """The progress that a push reports."""

    def __init__(self) -> None:
        self.last = PushProgress("s", 0, 0)
        self.troubles: list[str] = []

    def __call__(self, progress: PushProgress) -> None:
        self.last = progress
        if progress.trouble:
            self.troubles.append(str(progress.trouble))

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110 - progress has a callback, not an event
            await asyncio.sleep(0.01)


async def stored(loom: Loom, id: str = "s") -> bytes:
    wire = await loom.get(f"/stream/{id}?notail")
    assert wire.head.status == 200
    return await wire.body()


async def state(loom: Loom, id: str = "s") -> State:
    return (await loom.service.info(id)).state


def start(session: Session, chunks, *, creation=None, pace=QUICK, keeping=None, on_progress=lambda _: None):
    return asyncio.create_task(
        push(session, "s", chunks, creation=creation, pace=pace, keeping=keeping, on_progress=on_progress)
    )


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
async def test_all_of_an_input_becomes_a_complete_stream(loom: Loom, size):
    data = random.Random(size).randbytes(size)
    async with Session(loom.url) as session:
        creation = Creation(metadata='{"k": 1}', content_type="text/x")
        state = await push(session, "s", pieces(data), creation=creation)
    assert (state.offset, state.complete) == (size, True)
    wire = await loom.get("/stream/s")
    assert await wire.body() == data
    assert wire.head["x-stream-state"] == "complete"
    assert (wire.head["content-type"], json.loads(wire.head["x-stream-metadata"])) == ("text/x", {"k": 1})


async def test_bytes_are_sent_as_they_arrive_and_a_silent_input_holds_no_request(loom: Loom):
    source, watch = Input(), Watch()
    async with Session(loom.url) as session:
        pushing = start(session, source, on_progress=watch)
        follower = await loom.follow("/stream/s")
        for piece in (b"one", b"two"):
            source.write(piece)
            assert await follower.take(3) == piece
            await loom.until("s", State.OPEN)  # after `idle`
        source.write(None)
        await pushing
    assert await follower.body() == b""
    assert watch.troubles == []


async def test_a_bad_network_loses_no_byte(loom: Loom, between):
    data = random.Random(1).randbytes(2_000_000)
    storm = Storm(3060, cuts=60, up=60_000, down=300)
    proxy = await between(loom, storm)
    watch = Watch()
    async with Session(proxy.url, timeouts=SOON) as session:
        pushed = await push(session, "s", pieces(data), pace=QUICK, on_progress=watch)
    assert storm.cuts > 3
    assert watch.troubles
    assert (pushed.offset, await stored(loom), await state(loom)) == (len(data), data, State.COMPLETE)


class LosingResponses(Uploads):
    """The first response to each kind of request is lost, after the server has acted."""

    def __init__(self, session: Session, id: str) -> None:
        super().__init__(session, id)
        self.lost: list[str] = []

    def _lose(self, kind: str) -> None:
        if kind not in self.lost:
            self.lost.append(kind)
            raise Lost("The response was lost.")

    async def create(self, headers, *, force):
        state = await super().create(headers, force=force)
        self._lose("create")
        return state

    async def append(self, state, body, on_confirmed, *, length=None):
        await super().append(
            state, body, on_confirmed if "append" in self.lost else lambda _: None, length=length
        )
        self._lose("append")

    async def close(self, state: UploadState, digest: str | None) -> UploadState:
        state = await super().close(state, digest)
        self._lose("close")
        return state


async def test_lost_responses_are_not_mistaken_for_another_producer(loom: Loom):
    buffer = Buffer()
    await buffer.append(b"data")
    buffer.finish()
    async with Session(loom.url) as session:
        uploads = LosingResponses(session, "s")
        await Push(uploads, buffer, Creation(), pace=QUICK).run()
    buffer.close()
    assert uploads.lost == ["create", "append", "close"]
    assert (await stored(loom), await state(loom)) == (b"data", State.COMPLETE)


@ONE_STORE
async def test_the_input_is_read_up_to_the_limit_while_the_server_is_unreachable(loom: Loom):
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            yield bytes(1000)
            read += 1000

    async with Session("http://127.0.0.1:1") as session:
        with pytest.raises(Lost):
            await push(session, "s", endless(), pace=QUICK, keeping=Keeping(limit=50_000))
    assert 49_000 <= read <= 50_000


@ONE_STORE
async def test_an_unreachable_server_is_retried_while_the_input_continues(loom: Loom):
    source, watch = Input(), Watch()
    pace = Pace(retry=0.01, retry_most=0.05, patience=0)
    async with Session("http://127.0.0.1:1") as session:
        pushing = start(session, source, pace=pace, on_progress=watch)
        await watch.until(lambda: len(watch.troubles) > 5)
        source.write(None)
        with pytest.raises(Lost):
            await pushing


@ONE_STORE
async def test_a_producer_that_is_fenced_stops_and_does_not_fence_back(loom: Loom):
    source, watch = Input(), Watch()
    async with Session(loom.url) as session:
        pushing = start(session, source, on_progress=watch)
        follower = await loom.follow("/stream/s")
        source.write(b"mine")
        assert await follower.take(4) == b"mine"
        other = await taking_over(loom, 4)
        with pytest.raises(Fenced, match="taken the stream over"):
            await pushing
        await other.chunk(b" theirs")
        assert await follower.take(7) == b" theirs"
        assert (await loom.service.info("s")).state is State.LIVE


@ONE_STORE
async def test_a_producer_that_resumes_after_silence_fences_no_other(loom: Loom):
    source = Input()
    async with Session(loom.url) as session:
        pushing = start(session, source)
        follower = await loom.follow("/stream/s")
        source.write(b"mine")
        assert await follower.take(4) == b"mine"
        await loom.until("s", State.OPEN)  # after `idle`
        other = await taking_over(loom, 4)
        await loom.until("s", State.LIVE)
        source.write(b"late")
        with pytest.raises(Fenced, match="taken the stream over"):
            await pushing
        await other.chunk(b" theirs")
        await other.chunk(b"")
        assert (await other.answer()).status == 204
    assert await stored(loom) == b"mine theirs"


async def taking_over(loom: Loom, offset: int) -> Wire:
    wire = await loom.connect()
    await wire.request(
        "PATCH",
        "/stream/s",
        transfer_encoding="chunked",
        upload_offset=offset,
        upload_complete="?1",
        content_type="application/partial-upload",
    )
    return wire


@ONE_STORE
async def test_a_producer_whose_stream_was_replaced_stops(loom: Loom):
    source = Input()
    async with Session(loom.url) as session:
        pushing = start(session, source)
        follower = await loom.follow("/stream/s")
        source.write(b"mine")
        assert await follower.take(4) == b"mine"
        await loom.stored("/stream/s?force=true", b"theirs")
        with pytest.raises((Fenced, Replaced)):
            await pushing
    assert await stored(loom) == b"theirs"


@ONE_STORE
async def test_a_deleted_stream_ends_the_push(loom: Loom):
    source = Input()
    async with Session(loom.url) as session:
        pushing = start(session, source)
        follower = await loom.follow("/stream/s")
        source.write(b"mine")
        assert await follower.take(4) == b"mine"
        await loom.ask("DELETE", "/stream/s")
        with pytest.raises(Refused) as refused:
            await pushing
    assert refused.value.status == 404


@ONE_STORE
async def test_an_existing_stream_is_refused_and_force_replaces_it(loom: Loom):
    await loom.stored("/stream/s", b"first")
    async with Session(loom.url) as session:
        with pytest.raises(Conflict):
            await push(session, "s", pieces(b"second"))
        assert await stored(loom) == b"first"
        await push(session, "s", pieces(b"second"), creation=Creation(force=True))
    assert await stored(loom) == b"second"


@ONE_STORE
async def test_a_wrong_token_is_not_retried(serve: Serve):
    loom, watch = await serve(tokens=["right"]), Watch()
    async with Session(loom.url, token="wrong") as session:
        with pytest.raises(Unauthorized):
            await push(session, "s", Input(), on_progress=watch)
    assert watch.troubles == []


async def test_an_input_that_fails_is_sent_up_to_the_failure_and_never_complete(loom: Loom):
    source = Input()
    async with Session(loom.url) as session:
        pushing = start(session, source)
        source.write(b"half")
        source.write(OSError("the disk"))
        with pytest.raises(InputFailed):
            await pushing
    assert (await stored(loom), await state(loom)) == (b"half", State.OPEN)


@pytest.mark.parametrize("created", [True, False])
async def test_unsent_bytes_are_spooled_and_sent_later(loom: Loom, tmp_path, created):
    data = random.Random(2).randbytes(3_000_000)
    source, watch = Input(), Watch()
    keeping = Keeping(limit=1_000_000, spool=tmp_path)
    async with Proxy(loom.host, loom.port, Always(CALM)).listening() as proxy:
        url = proxy.url if created else "http://127.0.0.1:1"
        session = Session(url)
        pushing = start(session, source, keeping=keeping, on_progress=watch)
        source.write(data[:500_000])
        if created:
            follower = await loom.follow("/stream/s")
            while len(await follower.read_chunk()) == 0:
                pass
    source.write(data[500_000:])
    source.write(None)
    with pytest.raises(Spooled, match="kept in"):
        await pushing
    await session.close()
    [path] = await asyncio.to_thread(spool.find, tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    async with Session(loom.url) as session:
        with await asyncio.to_thread(spool.open_file, path) as spooled:
            assert (spooled.remainder.size, spooled.remainder.whole) == (len(data), True)
            assert (spooled.remainder.offset > 0) is created
            with pytest.raises(spool.SpoolError, match="another process"):
                await asyncio.to_thread(spool.open_file, path)
            pushed = await resume(session, spooled, pace=QUICK)
    assert (pushed.offset, await stored(loom), await state(loom)) == (len(data), data, State.COMPLETE)


NGINX = """
daemon off; master_process off; pid {at}/pid; error_log {at}/log; events {{}}
http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; {options} }} }} }}
"""


@asynccontextmanager
async def nginx(program: str, at: Path, loom: Loom, options: str) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = at / "conf"
    config.write_text(NGINX.format(at=at, port=port, url=loom.url, options=options))
    process = await asyncio.create_subprocess_exec(program, "-p", at, "-c", config, stderr=DEVNULL)
    try:
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@ONE_STORE
@pytest.mark.parametrize(
    "options", ["", "proxy_request_buffering off; proxy_http_version 1.1;"], ids=["default", "unbuffered"]
)
async def test_a_proxy_that_buffers_requests_gets_short_ones(loom: Loom, tool, tmp_path, options):
    source = Input()
    async with nginx(tool("nginx"), tmp_path, loom, options) as url, Session(url) as session:
        pushing = start(session, source)
        follower = await loom.follow("/stream/s")
        for number in range(5):
            source.write(b"line %d\n" % number)
            assert await asyncio.wait_for(follower.take(7), 10) == b"line %d\n" % number
        big = random.Random(3).randbytes(5_000_000)
        source.write(big)
        source.write(None)
        await pushing
    assert await stored(loom) == b"line 0\nline 1\nline 2\nline 3\nline 4\n" + big
    assert await state(loom) is State.COMPLETE


async def letters() -> AsyncIterator[bytes]:
    for letter in "abc":
        yield letter.encode()


@ONE_STORE
@pytest.mark.parametrize("kind", ["bytes", "path", "file", "pieces", "as they come"])
async def test_the_library_pushes_every_kind_of_source(loom: Loom, tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        sources: dict[str, Source] = {"bytes": b"abc", "path": path, "file": file, "pieces": [b"a", b"bc"]}
        async with AsyncClient(loom.url) as client:
            size = await client.push("s", sources.get(kind, letters()), metadata={"k": "v"})
            assert (size, (await client.info("s")).metadata) == (3, {"k": "v"})
    assert await stored(loom) == b"abc"


async def test_every_request_that_writes_has_the_key_of_the_stream(listener):
    created = b'ETag: "k-1"\r\nX-Stream-Epoch: 1\r\nUpload-Offset: 0\r\nContent-Length: 0\r\n\r\n'
    async with Session(listener.url) as session:
        pushing = start(session, pieces(b"data"))
        peer = await listener.accept()
        assert "Upload-Complete: ?0" in await peer.head()
        await peer.send(b"HTTP/1.1 201 Created\r\nConnection: close\r\n" + created)
        peer = await listener.accept()
        head = await peer.head()
        assert head.startswith("PATCH /stream/s HTTP/1.1\r\n")
        assert 'If-Match: "k-1"\r\n' in head
        await peer.send(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(Replaced):
            await pushing


class Scripted(Uploads):
    """Responses of a server, one for each `locate`; an append fails."""

    id = "s"

    def __init__(self, *states: UploadState) -> None:
        self.states = list(states)

    async def create(self, headers, *, force):
        return UploadState(0, "1-a", 1)

    async def locate(self):
        return self.states.pop(0)

    async def append(self, state, body, on_progress, *, length=None):
        async for _ in body:
            break
        raise Lost("The connection was lost.")


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        (UploadState(5, "1-a", 2), Fenced, "bytes that this producer did not send"),
        (UploadState(0, "1-a", 3), Fenced, "taken the stream over"),
        (UploadState(0, "2-b", 1), Fenced, "was replaced"),
    ],
)
async def test_a_state_that_this_producer_cannot_have_caused_ends_the_push(state, error, says):
    buffer = Buffer()
    await buffer.append(b"four")
    buffer.finish()
    with pytest.raises(error, match=says):
        await Push(Scripted(state), buffer, Creation(), pace=QUICK).run()


async def test_a_server_that_lost_confirmed_bytes_ends_the_push():
    buffer = Buffer(start=4)
    await buffer.append(b"more")
    buffer.finish()
    resumed = UploadState(4, "1-a", 1)
    with pytest.raises(Refused, match="has 3 of 4 confirmed bytes"):
        await Push(Scripted(UploadState(3, "1-a", 1)), buffer, Creation(), pace=QUICK, state=resumed).run()
