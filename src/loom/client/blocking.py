"""The client for programs without asyncio: AsyncClient, run in the event loop of a background thread.

Owns that thread. Calls and iterators cross into its loop through a blocking portal of anyio. Every method may
be called from any thread, and from many at once.
"""

import functools
import inspect
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from types import GenericAlias, TracebackType
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar, get_args

import anyio
from anyio.from_thread import BlockingPortal

from loom.client.address import DEFAULT_SERVER
from loom.client.client import AsyncClient
from loom.client.errors import InvalidRequest
from loom.client.reading import Reading
from loom.client.session import Timeouts

P = ParamSpec("P")
T = TypeVar("T")


def _like(method: Callable[..., object], result: object, function: Callable[P, T]) -> Callable[P, T]:
    """Give `function` the name, documentation and parameters of `method`."""
    functools.update_wrapper(function, method)
    vars(function)["__signature__"] = inspect.signature(method).replace(return_annotation=result)
    return function


def _call(
    method: Callable[Concatenate[AsyncClient, P], Awaitable[T]],
) -> Callable[Concatenate["Client", P], T]:
    """Return `method` as a method that waits for its result."""

    def call(self: "Client", /, *args: P.args, **given: P.kwargs) -> T:
        return self.run(lambda: method(self.asynchronous, *args, **given))

    return _like(method, inspect.signature(method).return_annotation, call)


def _iterate(
    method: Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["Client", P], "Items[T]"]:
    """Return `method` as a method that returns an iterator."""

    def iterate(self: "Client", /, *args: P.args, **given: P.kwargs) -> Items[T]:
        return Items(self, method(self.asynchronous, *args, **given))

    item, _ = get_args(inspect.signature(method).return_annotation)
    return _like(method, GenericAlias(Items, (item,)), iterate)


def _follow(
    method: Callable[Concatenate[AsyncClient, P], Reading],
) -> Callable[Concatenate["Client", P], "Following"]:
    def follow(self: "Client", /, *args: P.args, **given: P.kwargs) -> Following:
        return Following(self, method(self.asynchronous, *args, **given))

    return _like(method, Following, follow)


class Items(Generic[T]):
    """An iterator whose items come from the client's event loop. `with` or `close` ends its request."""

    def __init__(self, client: "Client", items: AsyncGenerator[T, None]) -> None:
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
    """The bytes of one stream, or its `lines`. `reading` has the position and the state."""

    def __init__(self, client: "Client", reading: Reading) -> None:
        super().__init__(client, aiter(reading))
        self.reading = reading

    def lines(self) -> Items[bytes]:
        """Return an iterator over the same bytes by line; see Reading.lines."""
        return Items(self._client, self.reading.lines())


class Client:
    """Talk to a Loom server. Use as `with`.

    Arguments, results and errors are those of AsyncClient. An async iterator there is an iterator here. A
    process that forks needs a new client in the child.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.asynchronous = AsyncClient(server, token=token, proxy=proxy, timeouts=timeouts)
        """The client whose methods run in the event loop."""
        self._pid = os.getpid()
        started: Future[BlockingPortal] = Future()
        # A daemon: a program may exit without closing the client.
        self._thread = threading.Thread(
            target=anyio.run, args=(self._serve, started), name="loom-client", daemon=True
        )
        self._thread.start()
        self._portal = started.result()

    push = _call(AsyncClient.push)
    follow = _follow(AsyncClient.follow)
    download = _iterate(AsyncClient.download)
    grep = _iterate(AsyncClient.grep)
    read = _call(AsyncClient.read)
    info = _call(AsyncClient.info)
    streams = _iterate(AsyncClient.streams)
    total = _call(AsyncClient.total)
    delete = _call(AsyncClient.delete)
    count = _call(AsyncClient.count)
    delete_all = _call(AsyncClient.delete_all)
    events = _iterate(AsyncClient.events)
    spy = _iterate(AsyncClient.spy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the calls of all threads, close the connections and end the thread. May be repeated."""
        if self._pid != os.getpid():
            return
        with suppress(RuntimeError):  # the portal has ended
            self._portal.call(self._portal.stop, True)
        self._thread.join()

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await `function()` in the client's event loop. An interrupt of this thread cancels it there.

        Raises InvalidRequest if the client is closed.
        """
        if self._pid != os.getpid():
            raise InvalidRequest("This client belongs to the parent process. Create one after the fork.")
        try:
            future: Future[T] = self._portal.start_task_soon(function)
        except RuntimeError:  # the portal has ended
            raise InvalidRequest("This client is closed. Create another one.") from None
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _serve(self, started: Future[BlockingPortal]) -> None:
        async with self.asynchronous, BlockingPortal() as portal:
            started.set_result(portal)
            await portal.sleep_until_stopped()
