"""Random requests to a server, over sockets, compared step by step with a model of a few lines.

ROUNDS in the environment, set by `scripts/soak`, is the number of histories for each store.
"""

import asyncio
import functools
import io
import json
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.running import Lines, Loom, running
from tests.support.wire import Cut, Head, Wire

from loom.config import Settings
from loom.model import State

PATIENCE = 10.0
"""Seconds that a step may take."""
ROUNDS = int(os.environ.get("ROUNDS", "0"))

IDS = st.sampled_from(["a", "b", "c/d", "c/ü"])
LINES = st.lists(st.sampled_from(["", "eins", "zwei €", "\r"]), max_size=4).map("\n".join)
DATA = LINES.map(str.encode) | st.binary(max_size=20) | st.sampled_from([b"x" * 70_000, b"y\n" * 150_000])
KEYS = st.sampled_from(["", "", "k1", "k2"])
NUMBERS = st.integers(0, 30) | st.sampled_from([69_999, 70_000, 300_000])


@dataclass(eq=False)
class Stream:
    """The expected state of one stream; `wire` is the connection of its producer while it is live."""

    etag: str
    key: str = ""
    state: State = State.LIVE
    data: bytes = b""
    metadata: dict[str, Any] = field(default_factory=dict)
    amended: bool = False
    wire: Wire | None = None

    @property
    def upload(self) -> dict[str, str]:
        """Return what HEAD reports to a producer."""
        complete = self.state is State.COMPLETE
        return {"upload-offset": str(len(self.data)), "upload-complete": f"?{complete:d}"}


def path(id: str) -> str:
    return "/stream/" + id.replace("ü", "%C3%BC")


def on_loop(step: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a step on the loop of the server: Hypothesis calls functions."""

    @functools.wraps(step)
    def run(self: "Comparison", **drawn: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await step(self, **drawn)

        self.runner.run(bounded())

    return run


class Comparison(RuleBasedStateMachine):
    """Does each step to the server and to `streams`, the existing ones, oldest first."""

    store: str

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.streams: dict[str, Stream] = {}
        self.lines = Lines()
        structlog.configure(processors=[self.lines])
        self.runner.run(self.start())

    async def start(self) -> None:
        self.stack = AsyncExitStack()
        data = Path(self.directory.name) / "data"
        chosen = Settings(store=self.store, data=data, durability="os")
        self.loom: Loom = await self.stack.enter_async_context(running(chosen, self.lines))

    async def ask(
        self, method: str, target: str, body: bytes | None = None, **headers: Any
    ) -> tuple[Head, bytes]:
        """Send a request and read its whole response."""
        wire = await Wire.open(self.loom.host, self.loom.port)
        try:
            await wire.request(method, target, body, **headers)
            head = await wire.answer()
            return head, b"" if method == "HEAD" or head.status == 204 else await wire.body()
        finally:
            await wire.close()

    @rule(id=IDS, data=DATA, force=st.booleans(), complete=st.booleans(), key=KEYS, n=st.integers(0, 9))
    @on_loop
    async def create(self, id: str, data: bytes, force: bool, complete: bool, key: str, n: int) -> None:
        """Send a whole POST, which ends the stream or leaves it open."""
        headers: dict[str, Any] = {
            "x_stream_metadata": json.dumps({"n": n}),
            "upload_complete": f"?{complete:d}",
        }
        if key:
            headers["idempotency_key"] = key
        head, _ = await self.ask("POST", path(id) + "?force=true" * force, data, **headers)
        old = self.streams.get(id)
        if old and key and key == old.key:
            assert (head.status, head["etag"]) == (201, old.etag)
            assert upload(head) == old.upload
            return
        if old and not force:
            assert head.status == 409
            return
        assert (head.status, head.headers.get("x-stream-replaced") == "true") == (201, old is not None)
        await self.forget(id)
        state = State.COMPLETE if complete else State.OPEN
        self.streams[id] = Stream(head["etag"], key, state, data, {"n": n})
        assert upload(head) == self.streams[id].upload

    @rule(id=IDS, data=DATA, force=st.booleans())
    @on_loop
    async def begin(self, id: str, data: bytes, force: bool) -> None:
        """Begin a POST; its stream is live until it ends."""
        wire = await Wire.open(self.loom.host, self.loom.port)
        await wire.post(path(id) + "?force=1" * force)
        head = await wire.answer()
        if id in self.streams and not force:
            assert head.status == 409
            await wire.close()
            return
        assert head.status == 201
        await self.forget(id)
        self.streams[id] = Stream(head["etag"], wire=wire)
        await self.sent(id, data)

    @rule(id=IDS, data=DATA)
    @on_loop
    async def send(self, id: str, data: bytes) -> None:
        if (stream := self.streams.get(id)) and stream.wire:
            await self.sent(id, data)

    @rule(id=IDS)
    @on_loop
    async def complete(self, id: str) -> None:
        if (stream := self.streams.get(id)) and stream.wire:
            await stream.wire.chunk(b"")
            assert await stream.wire.body() == b""
            stream.state = State.COMPLETE
            await self.hang_up(stream)

    @rule(id=IDS)
    @on_loop
    async def lose(self, id: str) -> None:
        if (stream := self.streams.get(id)) and stream.wire:
            stream.wire.reset()
            await self.loom.until(id, State.INTERRUPTED)
            stream.state = State.INTERRUPTED
            await self.hang_up(stream)

    @rule(id=IDS, data=DATA, off=st.sampled_from([0, 0, 0, 1, -1]), last=st.booleans(), named=st.booleans())
    @on_loop
    async def resume(self, id: str, data: bytes, off: int, last: bool, named: bool) -> None:
        """Send a PATCH at the right offset or a wrong one; it takes a live stream over."""
        stream = self.streams.get(id)
        size = len(stream.data) if stream else 0
        at = max(0, size + off)
        headers: dict[str, Any] = {"upload_offset": at, "upload_complete": f"?{last:d}"}
        if named and stream:
            headers["if_match"] = stream.etag
        head, _ = await self.ask("PATCH", path(id), data, **headers)
        if stream is None:
            assert head.status == 404
        elif stream.state is State.COMPLETE:
            repeated = last and at == size and not data
            assert head.status == (204 if repeated else 409)
            assert upload(head) == stream.upload
        else:
            assert head.status == (204 if at == size else 409)
            if at == size:
                if stream.wire:
                    with pytest.raises(Cut):
                        await stream.wire.body()
                    await self.hang_up(stream)
                stream.data += data
                stream.state = State.COMPLETE if last else State.OPEN
            assert upload(head) == stream.upload

    @rule(id=IDS, patch=st.dictionaries(st.sampled_from("nm"), st.none() | st.integers(0, 9)))
    @on_loop
    async def amend(self, id: str, patch: dict[str, int | None]) -> None:
        """Send a merge patch: any number before the end, one after it."""
        body = json.dumps(patch).encode()
        head, _ = await self.ask("PATCH", path(id), body, content_type="application/merge-patch+json")
        if (stream := self.streams.get(id)) is None:
            assert head.status == 404
            return
        merged = {**stream.metadata, **patch}
        merged = {name: value for name, value in merged.items() if value is not None}
        changes = merged != stream.metadata
        if stream.state is State.COMPLETE and stream.amended and changes:
            assert head.status == 409
            return
        assert (head.status, json.loads(head["x-stream-metadata"])) == (204, merged)
        stream.amended = stream.state is State.COMPLETE and (stream.amended or changes)
        stream.metadata = merged

    @rule(id=IDS)
    @on_loop
    async def delete(self, id: str) -> None:
        head, _ = await self.ask("DELETE", path(id))
        assert head.status == (204 if id in self.streams else 404)
        await self.forget(id)

    @rule(prefix=st.sampled_from(["", "c/", "x"]), off=st.sampled_from([0, 0, 1]))
    @on_loop
    async def delete_prefix(self, prefix: str, off: int) -> None:
        ids = [id for id in self.streams if id.startswith(prefix)]
        head, body = await self.ask("DELETE", f"/streams?prefix={prefix}&confirm={len(ids) + off}")
        if off:
            assert (head.status, json.loads(body)["count"]) == (409, len(ids))
            return
        assert (head.status, json.loads(body)) == (200, {"deleted": len(ids)})
        for id in ids:
            await self.forget(id)

    @rule(id=IDS, first=NUMBERS, length=NUMBERS, form=st.sampled_from(["whole", "open", "suffix"]))
    @on_loop
    async def read_range(self, id: str, first: int, length: int, form: str) -> None:
        if (stream := self.streams.get(id)) is None:
            return
        data = stream.data
        spec = {"whole": f"{first}-{first + length}", "open": f"{first}-", "suffix": f"-{length}"}[form]
        wanted = {"whole": data[first : first + length + 1], "open": data[first:]}
        head, body = await self.ask("GET", path(id) + "?notail", range=f"bytes={spec}")
        expected = wanted.get(form, data[max(0, len(data) - length) :] if length else b"")
        if form == "suffix" and length and not data:
            assert (head.status, body) == (200, b"")
        elif not expected:
            assert (head.status, head["content-range"]) == (416, f"bytes */{len(data)}")
        else:
            assert (head.status, body) == (206, expected)

    @rule(id=IDS, place=st.sampled_from(["offset", "back", "lines", "line"]), n=NUMBERS)
    @on_loop
    async def read_from(self, id: str, place: str, n: int) -> None:
        if (stream := self.streams.get(id)) is None:
            return
        data, lines = stream.data, split(stream.data)
        asked, wanted = {
            "offset": (f"offset={n}", data[n:]),
            "back": (f"offset=-{n}", data[max(0, len(data) - n) :] if n else b""),
            "lines": (f"lines={n}", b"".join(lines[max(0, len(lines) - n) :]) if n else b""),
            "line": (f"line={n + 1}", b"".join(lines[n:])),
        }[place]
        head, body = await self.ask("GET", f"{path(id)}?notail&{asked}")
        assert (head.status, body) == (200, wanted)
        assert head["x-stream-offset"] == str(len(data) - len(wanted))

    @precondition(lambda self: self.store == "files")
    @rule()
    @on_loop
    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @invariant()
    @on_loop
    async def server_is_as_the_model_says(self) -> None:
        _, body = await self.ask("GET", "/streams")
        rows = json.loads(body)["streams"]
        assert [row["id"] for row in rows] == list(self.streams)[::-1]
        for row in rows:
            stream = self.streams[row["id"]]
            assert (row["state"], row["size"]) == (stream.state, len(stream.data))
            assert row["metadata"] == stream.metadata
            assert f'"{row["key"]}"' == stream.etag
            head, content = await self.ask("GET", path(row["id"]) + "?notail")
            assert (head.status, head["x-stream-state"], content) == (200, stream.state, stream.data)
            head, _ = await self.ask("HEAD", path(row["id"]))
            assert upload(head) == stream.upload

    async def sent(self, id: str, data: bytes) -> None:
        """Let the live producer send; return when readers see the bytes."""
        stream = self.streams[id]
        assert stream.wire
        if not data:
            return
        await stream.wire.chunk(data)
        reader = await self.loom.get(f"{path(id)}?offset={len(stream.data)}")
        assert await reader.take(len(data)) == data
        await reader.close()
        stream.data += data

    async def forget(self, id: str) -> None:
        """Remove the stream; check that its producer is cut."""
        stream = self.streams.pop(id, None)
        if stream and stream.wire:
            with pytest.raises(Cut):
                await stream.wire.body()
            await self.hang_up(stream)

    async def hang_up(self, stream: Stream) -> None:
        if stream.wire:
            await stream.wire.close()
        stream.wire = None

    async def stop(self) -> None:
        await self.stack.aclose()
        for stream in self.streams.values():
            if stream.wire:
                stream.state = State.INTERRUPTED
                await self.hang_up(stream)

    def teardown(self) -> None:
        self.runner.run(self.stop())
        self.runner.close()
        self.directory.cleanup()
        structlog.reset_defaults()


def upload(head: Head) -> dict[str, str]:
    return {name: head[name] for name in ("upload-offset", "upload-complete") if name in head}


def split(data: bytes) -> list[bytes]:
    """Split into lines with their LF; the last may have none."""
    return [*io.BytesIO(data)]


@pytest.mark.timeout(0 if ROUNDS else 60)
@pytest.mark.parametrize(("store", "examples"), [("memory", 40), ("files", 15)])
def test_the_server_behaves_like_the_model(store: str, examples: int):
    class Named(Comparison):
        pass

    Named.store = store
    # A history of 25 steps is readable; to shrink it takes longer than a test may.
    phases = list(Phase) if ROUNDS else [Phase.explicit, Phase.reuse, Phase.generate]
    run_state_machine_as_test(
        Named,
        settings=settings(
            max_examples=ROUNDS or examples, stateful_step_count=25, deadline=None, phases=phases
        ),
    )
