"""Reads of stored bytes."""

import asyncio
import os

import pytest

from loom.errors import StreamDamaged, StreamNotFound
from loom.model import NewStream
from loom.store.base import Content, Store
from loom.testing.tools import COMPLETE, collect, stream

PIECE = 256 * 1024

DATA = bytes(number * 7 % 251 for number in range(PIECE * 3 + 1000))


async def check_descriptor(content: Content, data: bytes) -> None:
    assert await collect(content, 0, len(data)) == data
    file, filed = content.fileno(), content.filed
    assert 0 <= filed <= len(data)
    if file is None:
        assert filed == 0
    else:
        assert await asyncio.to_thread(os.pread, file, filed, 0) == data[:filed]


class ContentTests:
    async def test_any_range_is_read_in_bounded_pieces(self, store: Store) -> None:
        writer = await stream(store, "a", DATA, COMPLETE)
        size = len(DATA)
        edges = [0, 1, 4096, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, size - 1, size]
        async with await store.open(writer.key) as content:
            assert content.key == writer.key
            for start in edges:
                for stop in [edge for edge in edges if edge >= start]:
                    pieces = [piece async for piece in content.read(start, stop)]
                    assert b"".join(pieces) == DATA[start:stop]
                    assert all(0 < len(piece) <= PIECE for piece in pieces)

    async def test_empty_stream_has_nothing_to_read(self, store: Store) -> None:
        writer = await stream(store, "a", b"", COMPLETE)
        async with await store.open(writer.key) as content:
            assert await collect(content, 0, 0) == b""

    async def test_missing_bytes_are_not_made_up(self, store: Store) -> None:
        writer = await stream(store, "a", b"12345", COMPLETE)
        async with await store.open(writer.key) as content:
            for start, stop in [(0, 6), (5, 6), (100, 200)]:
                with pytest.raises(StreamDamaged):
                    await collect(content, start, stop)

    async def test_bytes_are_readable_while_the_stream_grows(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        expected = b""
        async with await store.open(writer.key) as content:
            for number in range(60):
                data = bytes([number]) * (number**3 + 1)
                writer.append(data)
                expected += data
                if number % 4 == 0:
                    size = await writer.wait_durable(writer.accepted)
                    assert await collect(content, size // 2, size) == expected[size // 2 : size]
            size = await writer.wait_durable(writer.accepted)
            assert await collect(content, 0, size) == expected

    async def test_a_read_continues_while_bytes_are_appended(self, store: Store) -> None:
        writer = await stream(store, "a", DATA)
        async with await store.open(writer.key) as content:
            read = b""
            async for piece in content.read(0, len(DATA)):
                read += piece
                writer.append(b"more" * 50_000)
                await writer.wait_durable(writer.accepted)
            assert read == DATA

    async def test_many_read_at_once(self, store: Store) -> None:
        writer = await stream(store, "a", DATA)
        contents = [await store.open(writer.key) for _ in range(10)]
        reads = [collect(content, number * 1000, len(DATA)) for number, content in enumerate(contents)]
        for number, data in enumerate(await asyncio.gather(*reads)):
            assert data == DATA[number * 1000 :]
        for content in contents:
            content.close()

    async def test_closing_one_content_leaves_the_others(self, store: Store) -> None:
        writer = await stream(store, "a", DATA, COMPLETE)
        first, second = await store.open(writer.key), await store.open(writer.key)
        first.close()
        first.close()
        assert await collect(second, 0, len(DATA)) == DATA
        second.close()
        async with await store.open(writer.key) as third:
            assert await collect(third, 10, 20) == DATA[10:20]

    @pytest.mark.parametrize("data", [b"", b"small", DATA], ids=["empty", "small", "large"])
    async def test_descriptor_reads_what_read_does(self, store: Store, data: bytes) -> None:
        writer = await stream(store, "a", data)
        async with await store.open(writer.key) as content:
            await check_descriptor(content, data)
            writer.append(data)
            await writer.wait_durable(writer.accepted)
            await check_descriptor(content, data * 2)
            await writer.close(COMPLETE)
            await check_descriptor(content, data * 2)
            await store.delete(writer.key)
            await check_descriptor(content, data * 2)

    async def test_opening_an_unknown_key_is_refused(self, store: Store) -> None:
        for key in ("", "unknown", "0-0", "1"):
            with pytest.raises(StreamNotFound):
                await store.open(key)
