"""The client of a server for programs without asyncio: AsyncClient, run by a thread of its own.

Owns that thread and its event loop. Everything may be called from any thread, and from many at once.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from loom.client.client import DEFAULT_SERVER, AsyncClient
from loom.client.errors import InvalidRequest
from loom.client.files import Source
from loom.client.info import Change, StreamInfo
from loom.client.reading import Reading
from loom.client.session import Timeouts

T = TypeVar("T")


class Client:
    """Use as `with`. The arguments and methods are those of AsyncClient, where they are explained; what is an
    async iterator there is an iterator here. After a fork the child has to make its own."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._client = AsyncClient(server, token=token, proxy=proxy, timeouts=timeouts)
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loom-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way in other threads too, and the thread. May be repeated."""
        if self._loop.is_closed() or self._pid != os.getpid():
            return
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what the client's thread does; given up, an interrupt say, it is cancelled there."""
        if self._loop.is_closed() or self._pid != os.getpid():
            work.close()
            raise InvalidRequest("This client is closed, or of the process that this one was forked from.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def follow(self, id: str, **options: Any) -> "Following":
        """See AsyncClient.follow."""
        return Following(self, self._client.follow(id, **options))

    def download(
        self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None
    ) -> "Items[bytes]":
        """See AsyncClient.download."""
        return Items(self, self._client.download(id, start, stop, key=key))

    def read(self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None) -> bytes:
        """See AsyncClient.read."""
        return self.run(self._client.read(id, start, stop, key=key))

    def push(
        self, id: str, source: Source, *, metadata: Mapping[str, Any] | None = None, **options: Any
    ) -> int:
        """See AsyncClient.push."""
        return self.run(self._client.push(id, source, metadata=metadata, **options))

    def info(self, id: str) -> StreamInfo:
        """See AsyncClient.info."""
        return self.run(self._client.info(id))

    def streams(self, prefix: str = "", **filters: Any) -> "Items[StreamInfo]":
        """See AsyncClient.streams."""
        return Items(self, self._client.streams(prefix, **filters))

    def delete(self, id: str) -> None:
        """See AsyncClient.delete."""
        self.run(self._client.delete(id))

    def count(self, prefix: str) -> int:
        """See AsyncClient.count."""
        return self.run(self._client.count(prefix))

    def delete_all(self, prefix: str, *, confirm: int) -> int:
        """See AsyncClient.delete_all."""
        return self.run(self._client.delete_all(prefix, confirm=confirm))

    def events(self, prefix: str = "") -> "Items[Change]":
        """See AsyncClient.events."""
        return Items(self, self._client.events(prefix))

    def spy(self, *, color: bool = False) -> "Items[bytes]":
        """See AsyncClient.spy."""
        return Items(self, self._client.spy(color=color))

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


class Items(Generic[T]):
    """An iterator over what the client's thread fetches, step by step; `with` or `close` lets go of it."""

    def __init__(self, client: Client, items: AsyncGenerator[T, None]) -> None:
        self._client = client
        self._items = items

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._client.run(_next(self._items))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._client.run(_close(self._items))


class Following(Items[bytes]):
    """The bytes of one stream, or its `lines`; `reading` tells where it stands."""

    def __init__(self, client: Client, reading: Reading) -> None:
        super().__init__(client, aiter(reading))
        self.reading = reading

    def lines(self) -> Items[bytes]:
        """See Reading.lines."""
        return Items(self._client, self.reading.lines())


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _close(items: AsyncGenerator[T, None]) -> None:
    await items.aclose()
