"""A producer that resumes: brings the bytes of a buffer to one stream, until the server has confirmed all of
them and the end. Owns what to do next; each step says which one follows it.

    create ──► go on ──► send ──► go on ──► … ──► close
                 ▲         │ lost, or not there any more
                 └─ locate ◄

Knows nothing of HTTP (`uploads.py`), of where bytes are kept (`buffer.py`), or of terminals.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loom.client.buffer import Buffer
from loom.client.errors import ClientError, Fenced, Lost, Refused
from loom.client.session import Backoff
from loom.client.uploads import MOVED, Place, Uploads
from loom.model import DEFAULT_CONTENT_TYPE

CHUNK_BYTES = 256 * 1024
SHORT_BYTES = 1 << 20
"""Of a request that a proxy keeps until it has all of it; more than this many refuse."""
FRUITLESS = 3
"""Long requests in a row that are lost and of which nothing arrived, until short ones are tried."""
SAME_AGE = 0.1
"""Two requests that were cut at ages so alike, in parts, were cut by a time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: `idle` without input end a long request; without progress for `stall` it is looked into; short
    requests begin `gather` after one another; the answer to a whole request may take `answer`. The first
    attempt after a loss comes after `retry`, then each later, up to `retry_most`. When the input has ended or
    must wait, and nothing helps for `patience`, the producer gives up."""

    idle: float = 25.0
    stall: float = 5.0
    gather: float = 0.5
    answer: float = 60.0
    retry: float = 0.25
    retry_most: float = 10.0
    patience: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What a stream is created with. `metadata` is JSON in ASCII, `resume_window` in seconds; `ttl` seconds
    after its end it is deleted (0: never; None: as the server has it). The key makes a repeated creation the
    same one."""

    metadata: str = "{}"
    content_type: str = DEFAULT_CONTENT_TYPE
    force: bool = False
    resume_window: int = 86400
    ttl: int | None = None
    idempotency_key: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def headers(self) -> dict[str, str]:
        """As the request says it."""
        kept = {} if self.ttl is None else {"Stream-TTL": str(self.ttl)}
        return kept | {
            "X-Stream-Metadata": self.metadata,
            "Content-Type": self.content_type,
            "Stream-Resume-Window": str(self.resume_window),
            "Idempotency-Key": self.idempotency_key,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a push is: bytes taken from the input, bytes that are durable, and what is wrong just now."""

    taken: int
    durable: int
    trouble: ClientError | None = None


Tell = Callable[[Progress], None]
Step = Callable[[], Awaitable[Any]]


class _Stalled(Exception):
    """What was sent does not arrive, although the server answers: something on the way keeps it."""


class _Request:
    """A PATCH under way: bytes [start, sent) were handed over, none from `stop` on will be."""

    def __init__(self, start: int, length: int | None, lifetime: float | None) -> None:
        self.start = self.sent = start
        self.length = length
        self.begun = asyncio.get_running_loop().time()
        self.until = None if lifetime is None else self.begun + lifetime
        self.ended: float | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.looked = (start, start)

    @property
    def most(self) -> int:
        """Bytes that the next piece may have."""
        return CHUNK_BYTES if self.length is None else min(CHUNK_BYTES, self.start + self.length - self.sent)


class Push:
    """One push. `run` brings everything; `place` and the buffer say what is left if it fails."""

    def __init__(
        self,
        uploads: Uploads,
        buffer: Buffer,
        creation: Creation,
        *,
        pace: Pace | None = None,
        place: Place | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        self.place = place
        """Where the stream is known to be; None until it is created. Its offset is the buffer's start."""
        self.digest: str | None = None
        """Of all bytes of the stream, as `Stream-Digest` has it; known once the input has ended."""
        self.closes = True
        """The end of the buffer is the stream's end."""
        self.members: Mapping[str, Any] | None = None
        """What is merged into the stream's metadata before its end."""
        self._uploads = uploads
        self._buffer = buffer
        self._creation = creation
        self._pace = pace or Pace()
        self._tell = tell
        self._backoff = Backoff(None, first=self._pace.retry, most=self._pace.retry_most)
        self._stuck: float | None = None
        self._sent = buffer.start  # at most, in all requests
        self._unheard: int | None = None  # the epoch that a takeover was asked from, without an answer
        self._short = False
        self._fruitless = 0
        self._lost_at_age: float | None = None
        self._lifetime: float | None = None

    async def run(self) -> None:
        """Returns once the stream is complete, durably; if it is not to be closed, once it has all bytes.

        Raises Refused; Fenced if the stream is another producer's by now; Lost when patience is at its end.
        """
        step: Step | None = self._first
        while step is not None:
            try:
                step = await step()
            except ClientError as error:
                if error.code in MOVED:
                    step = self._locate
                elif error.temporary:
                    await self._wait(error)
                    step = self._first
                else:
                    raise

    @property
    def _first(self) -> Step:
        return self._create if self.place is None else self._locate

    async def _create(self) -> Step:
        place = await self._uploads.create(self._creation.headers, force=self._creation.force)
        if place.offset != self._buffer.start:
            raise Fenced("Another producer has written to this stream since it was created.")
        self.place = place
        self._went_well()
        return self._go_on

    async def _locate(self) -> Step:
        place = await self._uploads.locate()
        self._check(place)
        self._confirm(place, self._sent)
        return self._go_on

    async def _go_on(self) -> Step | None:
        await self._buffer.beyond(self._buffer.start)
        if self._buffer.size:
            return self._send
        return self._close if self.closes else None

    async def _close(self) -> None:
        assert self.place
        if self.members is not None:
            await self._uploads.describe(self.place.key, self.members)
            self.members = None
        with self._taking_over():
            self.place = await self._uploads.close(self.place, self.digest)

    async def _send(self) -> Step:
        """One PATCH: long, or as many bytes as there are."""
        length = await self._gathered() if self._short else None
        request = _Request(self._buffer.start, length, self._lifetime)
        try:
            with self._taking_over():
                await self._patch(request)
        except _Stalled:
            self._short = True
            return self._locate
        except Refused as error:
            if error.status != 413 or self._short:
                raise
            self._short = True  # a proxy's limit; that of the server is met again
            return self._locate
        except Lost:
            self._learn(request)
            raise
        return self._go_on

    async def _patch(self, request: _Request) -> None:
        """Send, and look after what is sent until it is answered."""
        assert self.place
        sending = asyncio.ensure_future(
            self._uploads.send(
                self.place,
                self._body(request),
                lambda place: self._confirm(place, request.sent),
                length=request.length,
            )
        )
        try:
            while not sending.done() and not request.failed.done():
                either: list[asyncio.Future[None]] = [sending, request.failed]
                await asyncio.wait(either, timeout=self._pace.stall, return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    await self._look(request)
            if request.failed.done():
                request.failed.result()
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _body(self, request: _Request) -> AsyncIterator[bytes]:
        """What is there and what comes, until it is time to end this request."""
        loop = asyncio.get_running_loop()
        yield b""  # lets the request's head go
        try:
            while request.most and (request.until is None or loop.time() < request.until):
                if data := await self._buffer.read(request.sent, request.most):
                    request.sent += len(data)
                    self._sent = max(self._sent, request.sent)
                    yield data
                elif self._buffer.ended:
                    break
                else:
                    async with asyncio.timeout(self._pace.idle):
                        await self._buffer.beyond(request.sent)
        except TimeoutError:
            pass
        except OSError as error:
            request.failed.set_exception(error)
        request.ended = loop.time()

    async def _look(self, request: _Request) -> None:
        """Raise _Stalled or Lost if this request is no good."""
        now = asyncio.get_running_loop().time()
        if request.ended is not None and now - request.ended > self._pace.answer:
            raise Lost("The server did not answer in time.")
        sent, confirmed = request.looked
        request.looked = (request.sent, self._buffer.start)
        if request.length is not None or self._buffer.start > confirmed or self._buffer.start >= sent:
            return
        place = await self._uploads.locate()
        self._check(place)
        if place.offset <= self._buffer.start:
            raise _Stalled
        self._confirm(place, request.sent)  # only the answer is kept on its way

    @contextmanager
    def _taking_over(self) -> Iterator[None]:
        """Around a request that asks to take the stream over from the epoch known.

        One can at most; with no answer it may have.
        """
        assert self.place
        before, self._unheard = self._unheard, self.place.epoch
        try:
            yield
        except Refused as error:
            if error.code in MOVED:
                self._unheard = before
            raise

    def _check(self, place: Place) -> None:
        """Raise Fenced if the stream was replaced, or another producer came to it."""
        assert self.place
        if place.key != self.place.key:
            raise Fenced("The stream was replaced by another one of the same id.")
        ours = self.place.epoch + (self._unheard == self.place.epoch)
        if place.epoch > ours:
            raise Fenced("Another producer has taken the stream over.")

    def _confirm(self, place: Place, sent: int) -> None:
        """Bytes up to the place's offset are durable; those up to `sent` may be ours."""
        if place.offset < self._buffer.start:
            raise Refused(409, f"The server has {place.offset} of {self._buffer.start} confirmed bytes.")
        if place.offset > sent:
            raise Fenced("The stream has bytes that this producer did not send.")
        self.place = place
        if place.offset > self._buffer.start:
            self._buffer.release(place.offset)
            self._fruitless = 0
            self._went_well()

    def _went_well(self) -> None:
        self._backoff.reset()
        self._stuck = None
        self._tell(Progress(self._buffer.end, self._buffer.start))

    async def _gathered(self) -> int:
        """Wait for the pace of short requests; how many bytes the next one has."""
        try:
            async with asyncio.timeout(self._pace.gather):
                await self._buffer.beyond(self._buffer.start + SHORT_BYTES - 1)
        except TimeoutError:
            pass
        return min(self._buffer.size, SHORT_BYTES)

    def _learn(self, request: _Request) -> None:
        """A long request was lost: by chance, by a time limit on the way, or because nothing passes."""
        age = asyncio.get_running_loop().time() - request.begun
        if request.length is not None:
            return
        if request.sent > request.start == self._buffer.start:
            self._fruitless += 1
            self._short = self._fruitless >= FRUITLESS
        elif age > self._pace.stall:
            before, self._lost_at_age = self._lost_at_age, age
            if before is not None and abs(age - before) < SAME_AGE * age:
                self._lifetime = (1 - 2 * SAME_AGE) * min(age, before)

    async def _wait(self, error: ClientError) -> None:
        """Wait before the next attempt. Raises `error` if patience is at its end."""
        now = asyncio.get_running_loop().time()
        if not (self._buffer.ended or self._buffer.full):
            self._stuck = None
        elif self._stuck is None:
            self._stuck = now
        elif now - self._stuck > self._pace.patience:
            raise error
        self._tell(Progress(self._buffer.end, self._buffer.start, error))
        await self._backoff.wait(error)
