"""One request and its response, as the handlers see them. Owns how responses are sent and when they are cut.

Starlette's Request and StreamingResponse are not used: they call `receive` without the handler's knowledge,
and here exactly one task at a time calls it.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from loom.access.auth import Action, Principal
from loom.errors import BadRequest, Forbidden, LoomError, StreamNotFound, TooLarge
from loom.http.extensions import CROWD, ZERO_COPY
from loom.http.headers import NO_STORE, NOSNIFF, Headers, content_length, values_of
from loom.http.problem import problem
from loom.http.record import RECORD, Record, audit, audit_refusal
from loom.ids import parse_id
from loom.streams.crowd import Member
from loom.streams.reading import Piece
from loom.wire.media import JSON

PRINCIPAL = "loom.principal"
"""The key of a request's Principal in its ASGI scope; the guard sets it."""

_NUMBER = re.compile("[0-9]{1,18}")

Interrupt = Callable[[Exception], None]
Handler = Callable[["Exchange"], Awaitable[None]]


class Disconnected(Exception):
    """The client disconnected: nothing more can be sent."""


class Exchange(HTTPConnection):
    """A request, and the means to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope)
        self.receive = receive
        self.send = send
        self.record: Record = scope[RECORD]
        self.spend: Callable[[int], tuple[int, LoomError | None]] = lambda size: (size, None)
        """Return how many of `size` bytes the quota admits, and the error if it does not admit all."""

    @property
    def head(self) -> bool:
        """True for a HEAD request."""
        return bool(self.scope["method"] == "HEAD")

    @property
    def expects_continue(self) -> bool:
        """True if the client sends the body only after a 100 (RFC 9110 section 10.1.1)."""
        return any(value.lower() == b"100-continue" for value in self.all(b"expect"))

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a header; its name is in lower case."""
        return values_of(self.scope["headers"], name)

    def extended(self, name: str) -> bool:
        """Return True if the server has an extension to ASGI."""
        return name in (self.scope.get("extensions") or {})

    @property
    def stream_id(self) -> str:
        """The stream id in the path. Raises InvalidId."""
        return parse_id(self.path_params["id"].encode("latin-1"))

    def given(self, name: str) -> bool:
        """Return True if the query has a parameter, whatever its value."""
        return name in self.query_params

    def flag(self, name: str) -> bool:
        """Return True for `name`, `name=true` or `name=1` in the query. Raises BadRequest."""
        values = {value.lower() for value in self.query_params.getlist(name)}
        if values <= {"", "1", "true"}:
            return bool(values)
        if values <= {"0", "false"}:
            return False
        raise BadRequest(f"The query parameter {name} must be true or false.")

    def number(self, name: str, default: int, *, least: int = 1) -> int:
        """Return the number that the query has for `name`, or else `default`. Raises BadRequest."""
        values = self.query_params.getlist(name)
        if values in ([], [""]):
            return default
        if len(values) > 1 or not _NUMBER.fullmatch(values[0]) or int(values[0]) < least:
            raise BadRequest(f"The query parameter {name} must be one whole number, {least} or more.")
        return int(values[0])

    @property
    def principal(self) -> Principal:
        """The client, by its token."""
        who: Principal = self.scope[PRINCIPAL]
        return who

    def require(self, action: Action, id: str | None) -> None:
        """Raise Forbidden unless the client may do this to a stream, with None to every stream.

        Raises StreamNotFound for a stream outside its prefix: the client does not learn whether that exists.
        """
        if self.principal.allowed(action, id):
            return
        if id is not None and id not in self.principal.ids and self.scope["method"] not in ("POST", "PUT"):
            audit_refusal(self.scope, "outside_prefix")
            raise StreamNotFound(id)
        if self.principal.may(action):
            ids = self.principal.ids
            covered = f"the stream {ids.exact}" if ids.prefix is None else f"the prefix {ids.prefix}"
            raise Forbidden(f"This token covers {covered} only.")
        raise Forbidden(f"This token does not have the scope {action}.")

    def audit(self, event: str, **fields: object) -> None:
        """Log an event of the audit channel that this request caused."""
        audit(self.scope, event, **fields)

    def visible(self) -> Callable[[str], bool]:
        """Return a function that says which ids the client may read. Raises Forbidden if it may read none."""
        principal = self.principal
        if not principal.may(Action.READ):
            raise Forbidden(f"This token does not have the scope {Action.READ}.")
        return principal.ids.__contains__

    async def body(self, limit: int) -> bytes:
        """Return the body of the request. Raises TooLarge if it has more than `limit` bytes, Disconnected."""
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            body += message.get("body", b"")
            if len(body) > limit:
                raise TooLarge(f"The body of this request may have at most {limit} bytes.")
            if not message.get("more_body", False):
                return bytes(body)

    def put_back(self, body: bytes) -> None:
        """Let `receive` return the body, which was read, once more."""
        receive, left = self.receive, [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return left.pop() if left else await receive()

        self.receive = again

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole response."""
        await respond(self.scope, self.send, status, headers, body)

    async def respond_content(self, content_type: str, body: bytes, *, status: int = 200) -> None:
        """Send a whole response that no cache may store."""
        headers = [(b"content-type", content_type.encode()), content_length(len(body)), NO_STORE, NOSNIFF]
        await self.respond(status, headers, body)

    async def respond_json(self, text: str, *, status: int = 200) -> None:
        """Send JSON text in ASCII, with an LF, as a whole response."""
        await self.respond_content(JSON, text.encode("ascii") + b"\n", status=status)

    async def start(self, status: int, headers: Headers) -> None:
        """Begin a response. A server may hold its head until the first part of the body, even an empty
        one."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        """Begin a response, and send its head immediately."""
        await self.start(status, headers)
        await self.send(body_part(first))

    async def relay(self, pieces: AsyncGenerator[Piece | Member, None]) -> None:
        """Send the rest of a response, and its end. Raises Disconnected as soon as the client disconnects.

        A separate task sends. A task that resumes passes through each coroutine on its stack, and around a
        handler there are a dozen: too many for each chunk to each follower.
        """
        sending = asyncio.create_task(self._send_all(pieces))
        watching = asyncio.create_task(self._wait_disconnected())
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
        """Raise Disconnected from the block as soon as the client disconnects."""

        async def watch() -> None:
            await self._wait_disconnected()
            interrupt(Disconnected())

        async with interruptible() as interrupt:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()

    async def end(self) -> None:
        """Send the end of a response, which marks it as complete."""
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, pieces: AsyncGenerator[Piece | Member, None]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await self.send(body_part(piece))
        await self.end()

    async def _wait_disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def respond(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole response, without its body for a HEAD request."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


@asynccontextmanager
async def interruptible() -> AsyncIterator[Interrupt]:
    """Yield a callback that interrupts what the block awaits: the block then raises the error it is called
    with.

    Only the first call counts. After the block the callback does nothing. It is built on asyncio.timeout,
    which distinguishes its own cancellation from that of another caller.
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
        # One error may interrupt many blocks: each raises it without the traceback of the others.
        raise cause.with_traceback(None) from None


class Resource:
    """One path: its methods and their handlers. HEAD is served by GET; OPTIONS and 405 follow from the
    handlers.

    `options` are more headers for the response to OPTIONS.
    """

    def __init__(self, options: Headers | None = None, **handlers: Handler) -> None:
        if "GET" in handlers:
            handlers.setdefault("HEAD", handlers["GET"])
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
            detail = "This path does not support this method; the Allow header lists those it supports."
            if method == "PUT" and "POST" in self._handlers:
                detail = "This path does not support PUT; use POST."
            await exchange.respond(*problem(405, "method_not_allowed", detail, headers=self._allow))


def body_part(piece: Piece | Member) -> Message:
    """Return a part of the body of a response, with more to come."""
    if isinstance(piece, bytes):
        return {"type": "http.response.body", "body": piece, "more_body": True}
    if isinstance(piece, Member):
        return {"type": CROWD, "member": piece, "more_body": True}
    return {
        "type": ZERO_COPY,
        "file": piece.fileno,
        "offset": piece.start,
        "count": piece.stop - piece.start,
        "more_body": True,
    }
