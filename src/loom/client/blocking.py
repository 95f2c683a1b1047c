"""The client for programs without asyncio: AsyncClient, run in the event loop of a background thread.

Owns how calls and iterators cross into that loop. anyio's blocking portal owns the thread and the loop. Every
method may be called from any thread, and from many at once.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from loom.client.address import DEFAULT_SERVER
from loom.client.client import AsyncClient
from loom.client.errors import InvalidRequest
from loom.client.files import Source
from loom.client.info import Change, StreamInfo
from loom.client.reading import Reading
from loom.client.session import Timeouts
from loom.model import DEFAULT_CONTENT_TYPE

CLOSED = "This client is closed. Create another one."

T = TypeVar("T")


class Client:
    """Talk to a Loom server. Use as `with`.

    Arguments, results and errors are those of AsyncClient, which documents them. An async iterator there is
    an iterator here. A process that forks needs a new client in the child.
    """

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
        self._closed = False
        self._calls: set[asyncio.Task[Any] | None] = set()
        self._stack = ExitStack()
        # The portal's thread is a daemon: a program may exit without closing the client.
        self._portal = self._stack.enter_context(start_blocking_portal(name="loom-client"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the calls of all threads, close the connections and end the thread. May be repeated."""
        if not self._closed and self._pid == os.getpid():
            with self._stack:
                self._portal.call(self._end)

    def run(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Await `function(*args)` in the client's event loop. An interrupt of this thread cancels it there.

        Raises InvalidRequest if the client is closed.
        """
        if self._pid != os.getpid():
            raise InvalidRequest("This client belongs to the parent process. Create one after the fork.")
        try:
            future: Future[T] = self._portal.start_task_soon(self._call, function, args)
        except RuntimeError:  # the portal has ended
            raise InvalidRequest(CLOSED) from None
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _call(self, function: Callable[..., Awaitable[T]], args: tuple[object, ...]) -> T:
        if self._closed:
            raise InvalidRequest(CLOSED)
        task = asyncio.current_task()
        self._calls.add(task)
        try:
            return await function(*args)
        finally:
            self._calls.discard(task)

    async def _end(self) -> None:
        # From here on no call starts: the portal waits for each one before it ends.
        self._closed = True
        calls = [call for call in self._calls if call]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._client.close()

    def push(
        self,
        id: str,
        source: Source,
        *,
        metadata: Mapping[str, Any] | None = None,
        content_type: str = DEFAULT_CONTENT_TYPE,
        force: bool = False,
        ttl: int | None = None,
        spool: Path | None = None,
        patience: float = 60.0,
    ) -> int:
        """Create the stream `id`, send `source` and return its size once the stream is complete."""

        def push() -> Awaitable[int]:
            return self._client.push(
                id,
                source,
                metadata=metadata,
                content_type=content_type,
                force=force,
                ttl=ttl,
                spool=spool,
                patience=patience,
            )

        return self.run(push)

    def follow(
        self,
        id: str,
        *,
        offset: int | None = None,
        lines: int | None = None,
        line: int | None = None,
        since: str | None = None,
        key: str | None = None,
        verify: bool = False,
        persistent: bool = False,
        wait: bool = False,
    ) -> "Following":
        """Return an iterator over the bytes of a stream, stored and new, until it is complete."""
        reading = self._client.follow(
            id,
            offset=offset,
            lines=lines,
            line=line,
            since=since,
            key=key,
            verify=verify,
            persistent=persistent,
            wait=wait,
        )
        return Following(self, reading)

    def download(
        self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None
    ) -> "Items[bytes]":
        """Return an iterator over the bytes [start, stop) that are stored now."""
        return Items(self, self._client.download(id, start, stop, key=key))

    def read(self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None) -> bytes:
        """Return the bytes [start, stop) that are stored now."""
        return self.run(lambda: self._client.read(id, start, stop, key=key))

    def info(self, id: str) -> StreamInfo:
        """Return what the server knows about one stream."""
        return self.run(self._client.info, id)

    def streams(
        self,
        prefix: str = "",
        *,
        states: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        created_after: str | None = None,
        limit: int | None = None,
    ) -> "Items[StreamInfo]":
        """Return an iterator over the streams that match, newest first."""
        found = self._client.streams(
            prefix, states=states, metadata=metadata, created_after=created_after, limit=limit
        )
        return Items(self, found)

    def delete(self, id: str) -> None:
        """Delete a stream, also a live one."""
        self.run(self._client.delete, id)

    def count(self, prefix: str) -> int:
        """Return how many streams `delete_all` would delete."""
        return self.run(self._client.count, prefix)

    def delete_all(self, prefix: str, *, confirm: int) -> int:
        """Delete every stream whose id begins with `prefix`, if there are `confirm` of them."""
        return self.run(lambda: self._client.delete_all(prefix, confirm=confirm))

    def events(self, prefix: str = "", *, persistent: bool = False) -> "Items[Change]":
        """Return an iterator over the changes of streams from now on."""
        return Items(self, self._client.events(prefix, persistent=persistent))

    def spy(self, *, color: bool = False) -> "Items[bytes]":
        """Return an iterator over the output of all live streams, merged."""
        return Items(self, self._client.spy(color=color))


class Items(Generic[T]):
    """An iterator whose items come from the client's event loop. `with` or `close` ends its request."""

    def __init__(self, client: Client, items: AsyncGenerator[T, None]) -> None:
        self._client = client
        self._items = items

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._client.run(self._items.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.run(self._items.aclose)


class Following(Items[bytes]):
    """The bytes of one stream, or its `lines`. `reading` says how far it is."""

    def __init__(self, client: Client, reading: Reading) -> None:
        super().__init__(client, aiter(reading))
        self.reading = reading

    def lines(self) -> Items[bytes]:
        """Return an iterator over the same bytes by line; see Reading.lines."""
        return Items(self._client, self.reading.lines())
