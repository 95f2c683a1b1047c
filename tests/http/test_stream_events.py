"""A stream as Server-Sent Events, over a socket."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Wire

from loom.http.heartbeat import with_heartbeat
from loom.http.stream.sse import ByteEvents
from loom.model import Patch, State
from loom.wire.media import accepts_events
from loom.wire.sse import HEARTBEAT, Decoder, Event

ACCEPT: dict[str, Any] = {"accept": "text/event-stream"}


class Source:
    """Decodes a response as a browser's EventSource does."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.decoder = Decoder()
        self.events: list[Event] = []
        self.ended = False

    async def next(self) -> Event | None:
        while not self.events and not self.ended:
            chunk = await self.wire.read_chunk()
            self.ended = not chunk
            self.events += self.decoder.feed(chunk)
        return self.events.pop(0) if self.events else None

    async def rest(self) -> list[Event]:
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found

    async def message(self) -> Any:
        event = await self.next()
        assert event is not None
        assert event.name == "message"
        return json.loads(event.data)


async def source(loom: Loom, target: str, **headers: Any) -> Source:
    wire = await loom.get(target, **ACCEPT, **headers)
    assert wire.head.status == 200
    assert wire.head["content-type"] == "text/event-stream"
    return Source(wire)


def joined(events: list[Event], start: int = 0) -> bytes:
    """Join the bytes of events; each begins where the one before ends."""
    data = b""
    for event in events:
        sent = json.loads(event.data)
        assert sent["offset"] == start + len(data)
        data += sent["text"].encode() if "text" in sent else b64decode(sent["base64"], validate=True)
        assert event.id.split(":")[1] == str(start + len(data))
    return data


async def test_a_final_stream_is_sent_with_its_end(loom: Loom):
    await loom.stored("/stream/a", b"one\r\ntwo\rthree\n", x_stream_metadata='{"n": 1, "exit_code": 2}')
    events = await source(loom, "/stream/a")
    head = events.wire.head
    assert (head["cache-control"], head["x-accel-buffering"]) == ("no-store, no-transform", "no")
    assert (head["vary"], head["x-stream-id"], head["x-stream-metadata"]) == (
        "Accept",
        "a",
        '{"n": 1, "exit_code": 2}',
    )
    assert "etag" not in head
    key = (await loom.store.info("a")).key
    *sent, end = await events.rest()
    assert joined(sent) == b"one\r\ntwo\rthree\n"
    assert (end.name, end.id) == ("end", f"{key}:15")
    assert json.loads(end.data) == {
        "state": "complete", "size": 15, "reason": "", "outcome": "failure",
        "metadata": {"n": 1, "exit_code": 2},
    }  # fmt: skip


async def test_a_live_stream_is_sent_as_it_arrives_in_whole_characters(loom: Loom):
    producer = await loom.live("/stream/a", "wör".encode()[:2])
    events = await source(loom, "/stream/a")
    assert await events.message() == {"offset": 0, "text": "w"}
    await producer.chunk("wör".encode()[2:])
    assert await events.message() == {"offset": 1, "text": "ör"}
    await producer.chunk(b"\x00\xff\x80")
    assert await events.message() == {"offset": 4, "base64": "AP+A"}
    await producer.chunk(b"\xe2\x82")
    await producer.chunk(b"")
    assert await events.message() == {"offset": 7, "base64": "4oI="}
    end = await events.next()
    assert end is not None
    assert (end.name, json.loads(end.data)["size"]) == ("end", 9)
    assert await events.next() is None


async def test_a_client_that_reconnects_resumes_after_its_last_event(loom: Loom):
    producer = await loom.live("/stream/a", b"hello ")
    events = await source(loom, "/stream/a?offset=3")
    first = await events.next()
    assert first is not None
    assert json.loads(first.data) == {"offset": 3, "text": "lo "}
    await events.wire.close()
    await producer.chunk(b"world")
    events = await source(loom, "/stream/a?offset=3", last_event_id=first.id)
    assert await events.message() == {"offset": 6, "text": "world"}
    await producer.chunk(b"")
    (end,) = await events.rest()
    again = await loom.get("/stream/a?offset=3", last_event_id=end.id, **ACCEPT)
    assert again.head.status == 204
    assert again.head["vary"] == "Accept"
    part = await source(loom, "/stream/a", last_event_id=first.id)
    assert joined((await part.rest())[:-1], 6) == b"world"


async def test_the_id_of_another_stream_is_412_and_a_wrong_one_400(loom: Loom):
    await loom.stored("/stream/a", b"bytes")
    old = (await loom.store.info("a")).key
    await loom.stored("/stream/a?force", b"other")
    key = (await loom.store.info("a")).key
    for last, status in {
        f"{old}:3": 412,
        f"{old}:5": 412,
        f"{key}:6": 400,
        f"{key}:-1": 400,
        f"{key}:": 400,
        "3": 400,
        "a:b:3": 400,
        f"{key}:5": 204,
        "": 200,
    }.items():
        assert (await loom.get("/stream/a", last_event_id=last, **ACCEPT)).head.status == status, last


async def test_the_events_of_an_aborted_stream_end_with_its_state(loom: Loom):
    await loom.live("/stream/a", b"half")
    events = await source(loom, "/stream/a")
    assert await events.message() == {"offset": 0, "text": "half"}
    info = await loom.store.info("a")
    aborted = Patch(state=State.ABORTED, reason="no room")
    await loom.store.change(info.key, aborted, version=info.version)
    state = {"state": "aborted", "size": 4, "reason": "no room", "outcome": None, "metadata": {}}
    (end,) = await events.rest()
    assert json.loads(end.data) == state
    *sent, end = await (await source(loom, "/stream/a")).rest()
    assert joined(sent) == b"half"
    assert json.loads(end.data) == state
    assert (await loom.get("/stream/a", last_event_id=end.id, **ACCEPT)).head.status == 204


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_follower_of_a_deleted_stream_gets_gone_and_cannot_resume(loom: Loom, replaced):
    await loom.live("/stream/a", b"old")
    events = await source(loom, "/stream/a")
    first = await events.next()
    assert first is not None
    if replaced:
        await loom.live("/stream/a?force", b"new")
    else:
        await loom.ask("DELETE", "/stream/a")
    (gone,) = await events.rest()
    assert gone.name == "gone"
    assert "reason" in json.loads(gone.data)
    again = await loom.get("/stream/a", last_event_id=first.id, **ACCEPT)
    assert again.head.status == (412 if replaced else 404)


async def test_a_stopping_server_sends_a_delay_for_reconnects(loom: Loom):
    await loom.live("/stream/a", b"some")
    events = await source(loom, "/stream/a")
    assert await events.message() == {"offset": 0, "text": "some"}
    await loom.service.drain(0)
    assert await events.rest() == []
    assert events.decoder.retry is not None
    assert 1000 <= events.decoder.retry <= 4000


async def test_notail_ends_after_the_stored_bytes(loom: Loom):
    await loom.live("/stream/a", b"some")
    sent, end = await (await source(loom, "/stream/a?notail")).rest()
    assert joined([sent]) == b"some"
    assert json.loads(end.data) == {"state": "live", "size": 4, "reason": "", "outcome": None, "metadata": {}}


async def test_lines_are_found_and_their_offsets_are_right(loom: Loom):
    producer = await loom.live("/stream/a", b"one\ntwo\n")
    last, fourth = [await source(loom, f"/stream/a?{place}") for place in ("lines=1", "line=4")]
    assert await last.message() == {"offset": 4, "text": "two\n"}
    await producer.chunk(b"three\nfour\n")
    assert await fourth.message() == {"offset": 14, "text": "four\n"}


async def test_as_sets_the_form_of_the_bytes(loom: Loom):
    await loom.stored("/stream/a", b"a\xffb")
    for kind, expected in {
        "": {"offset": 0, "base64": "Yf9i"},
        "?as=binary": {"offset": 0, "base64": "Yf9i"},
        "?as=text": {"offset": 0, "text": "a\ufffdb"},
    }.items():
        assert await (await source(loom, f"/stream/a{kind}")).message() == expected
    assert (await loom.get("/stream/a?as=html", **ACCEPT)).head.status == 400


async def test_range_is_ignored_and_head_has_no_body(loom: Loom):
    await loom.stored("/stream/a", b"bytes")
    events = await source(loom, "/stream/a", range="bytes=1-2", if_none_match="*")
    assert await events.message() == {"offset": 0, "text": "bytes"}
    head = await loom.ask("HEAD", "/stream/a", **ACCEPT)
    assert (head.head.status, head.head["content-type"]) == (200, "text/event-stream")
    assert head.unread() == b""
    plain = await loom.get("/stream/a")
    assert (plain.head["vary"], plain.head["content-type"]) == ("Accept", "application/octet-stream")
    assert (await loom.get("/stream/none", **ACCEPT)).head.status == 404


@ONE_STORE
async def test_events_need_the_token_too(serve: Serve):
    loom = await serve(tokens=["token"])
    assert (await loom.get("/stream/a", **ACCEPT)).head.status == 401


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream ; charset=utf-8", True),
        ("text/event-stream, */*;q=0.5", True),
        ("text/event-stream;q=0.1, text/html", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=x", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_only_a_client_that_names_events_gets_them(accept, wanted):
    assert accepts_events([accept.encode()]) is wanted


@given(st.lists(st.text(max_size=4).map(str.encode) | st.binary(max_size=4)), st.sampled_from(["", "binary"]))
def test_every_byte_survives_in_any_pieces(pieces, kind):
    encoder, at, sent = ByteEvents("1-a", kind), 7, b""
    for piece in pieces:
        encoded, encoder = encoder.feed(at, piece)
        sent += encoded
        at += len(piece)
    events = Decoder().feed(sent + encoder.rest(at))
    assert joined(events, 7) == b"".join(pieces)


@given(st.text(min_size=1), st.integers(1, 5), st.integers(0, 8))
def test_text_is_sent_as_text_in_any_pieces_and_from_any_offset(text, size, start):
    data = text.encode()[start:]
    encoder, sent = ByteEvents("1-a", ""), b""
    for at in range(0, len(data), size):
        encoded, encoder = encoder.feed(at, data[at : at + size])
        sent += encoded
    rows = [json.loads(event.data) for event in Decoder().feed(sent + encoder.rest(len(data)))]
    binary = [row for row in rows if "base64" in row]
    assert len(binary) <= 3
    assert sum(len(b64decode(row["base64"])) for row in binary) <= 3


async def test_silence_is_filled_with_heartbeats_and_nothing_is_lost():
    gate = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await gate.wait()
        yield b"two"

    came = []
    async for event in with_heartbeat(events(), 0.01):
        came.append(event)
        if came.count(HEARTBEAT) == 3:
            gate.set()
    assert [event for event in came if event != HEARTBEAT] == [b"one", b"two"]
    assert came[1:4] == [HEARTBEAT] * 3
