"""One request and its answer, as the handlers see them. Owns how answers are sent, and when they stop.

Knows nothing of streams. Nothing here is Starlette's Request or StreamingResponse: those read the body behind
the handler's back, and here exactly one task at a time calls `receive`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from loom.access.auth import Action, Principal
from loom.errors import BadRequest, Forbidden, LoomError, StreamNotFound, TooLarge
from loom.http.middleware.access_log import RECORD, Record
from loom.http.problem import Headers, problem

PRINCIPAL = "loom.principal"
"""Where the guard leaves who asks, in the ASGI scope."""

T = TypeVar("T")
Interrupt = Callable[[Exception], None]
Handler = Callable[["Exchange"], Awaitable[None]]


class Disconnected(Exception):
    """The client went away: there is nobody to answer."""


class Exchange(HTTPConnection):
    """A request with the means to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope)
        self.receive = receive
        self.send = send
        self.record: Record = scope[RECORD]
        self.spend: Callable[[int], tuple[int, LoomError | None]] = lambda size: (size, None)
        """Says of so many bytes how many may be taken, and if not all why not."""

    @property
    def head(self) -> bool:
        """Only the headers are asked for."""
        return bool(self.scope["method"] == "HEAD")

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header, by its name in lower case."""
        return [value for header, value in self.scope["headers"] if header == name]

    def given(self, name: str) -> bool:
        """True if the query has that parameter, whatever its value."""
        return name in self.query_params

    def flag(self, name: str) -> bool:
        """A parameter that is on as `name`, `name=true` or `name=1`. Raises BadRequest for other words."""
        values = {value.lower() for value in self.query_params.getlist(name)}
        if values <= {"", "1", "true"}:
            return bool(values)
        if values <= {"0", "false"}:
            return False
        raise BadRequest(f"The query parameter {name} is either true or false.")

    @property
    def principal(self) -> Principal:
        """Who asks."""
        who: Principal = self.scope[PRINCIPAL]
        return who

    def require(self, action: Action, id: str | None) -> None:
        """Raise Forbidden unless who asks may do that to the stream, with None to every stream.

        StreamNotFound for a stream that is not its business: not even whether it exists is.
        """
        if self.principal.allowed(action, id):
            return
        if id is not None and not self.principal.covers(id) and self.scope["method"] != "POST":
            raise StreamNotFound(id)
        raise Forbidden(f"This token does not allow to {action} here.")

    def visible(self) -> Callable[[str], bool]:
        """Tells which ids who asks may read of. Raises Forbidden if there can be none."""
        principal = self.principal
        if not principal.may(Action.READ):
            raise Forbidden(f"This token does not allow to {Action.READ} here.")
        return principal.covers

    async def body(self, limit: int) -> bytes:
        """The whole body of the request. Raises TooLarge for one of more than `limit` bytes, Disconnected."""
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            body += message.get("body", b"")
            if len(body) > limit:
                raise TooLarge(f"The body of this request may have {limit} bytes at most.")
            if not message.get("more_body", False):
                return bytes(body)

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer."""
        await respond(self.scope, self.send, status, headers, body)

    async def start(self, status: int, headers: Headers) -> None:
        """Begin an answer; servers may keep its head until a part of the body comes, even an empty one."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        """Begin an answer whose head goes out at once."""
        await self.start(status, headers)
        await self.send(body_part(first))

    async def relay(self, pieces: AsyncGenerator[T, None], part: Callable[[T], Message]) -> None:
        """Send the rest of a begun answer, and its end. Raises Disconnected as soon as the client leaves.

        A task of its own sends. Whenever a task goes on, it does so through every coroutine that awaits the
        next, and around a handler there are a dozen: too many for every piece of every follower.
        """
        sending = asyncio.create_task(self._send_all(pieces, part))
        watching = asyncio.create_task(self._disconnected())
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await watching
                raise Disconnected
            await sending
        finally:
            sending.cancel()
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Raise Disconnected from the block as soon as the client leaves."""

        async def watch() -> None:
            await self._disconnected()
            interrupt(Disconnected())

        async with interruptible() as interrupt:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()

    async def end(self) -> None:
        """End a begun answer: it was all of it."""
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, pieces: AsyncGenerator[T, None], part: Callable[[T], Message]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await self.send(part(piece))
        await self.end()

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def respond(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole answer; to HEAD without its body."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


@asynccontextmanager
async def interruptible() -> AsyncIterator[Interrupt]:
    """Give a callback that ends whatever the block awaits: its error is then raised from the block.

    Built on asyncio.timeout, which tells its own cancellation from one that somebody else asks for. Only
    the first call counts; after the block it does nothing.
    """
    cause: Exception | None = None
    over = False

    def interrupt(error: Exception) -> None:
        nonlocal cause
        if cause is None and not over:
            cause = error
            timeout.reschedule(0)

    try:
        async with asyncio.timeout(None) as timeout:
            try:
                yield interrupt
            finally:
                over = True
    except TimeoutError:
        if cause is None:
            raise
        # Many may be told of one error: each raises it without the way it came to the others.
        raise cause.with_traceback(None) from None


class Resource:
    """One path: its methods and their handlers. HEAD falls to GET; OPTIONS and 405 come from the table.

    `options` are headers that OPTIONS answers besides.
    """

    def __init__(self, options: Headers | None = None, **handlers: Handler) -> None:
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._handlers = handlers
        self._allow = [(b"allow", ", ".join(sorted([*handlers, "OPTIONS"])).encode())]
        self._options = [*self._allow, *(options or [])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        exchange = Exchange(scope, receive, send)
        if handler := self._handlers.get(method):
            await handler(exchange)
        elif method == "OPTIONS":
            await exchange.respond(204, self._options)
        else:
            detail = "This method is not for this path; the Allow header has those that are."
            await exchange.respond(*problem(405, "method_not_allowed", detail, headers=self._allow))


def body_part(data: bytes) -> Message:
    """A part of an answer with more to come."""
    return {"type": "http.response.body", "body": data, "more_body": True}
