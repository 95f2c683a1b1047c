"""A producer that resumes: sends the bytes of a buffer to one stream until all of them are confirmed.

Owns what to do next. Each step returns the step after it:

    create ──► proceed ──► send ──► proceed ──► … ──► close
                  ▲         │ lost, or the server's state is another
                  └─ locate ◄

Knows nothing of HTTP (`uploads.py`), of where bytes are kept (`buffer.py`), or of terminals.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loom.client.buffer import Buffer
from loom.client.errors import ClientError, Fenced, Lost, Refused
from loom.client.route import SHORT_BYTES, Request, Route
from loom.client.session import Backoff
from loom.client.uploads import STATE_MISMATCH, Creation, Uploads, UploadState


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: a long request ends after `idle` without input, and is checked after `stall` without progress.
    Short requests begin `gather` apart. A response may take `answer` after the end of the body. Retries back
    off from `retry` to `retry_most`. Once the input has ended or must wait, an outage may last `patience`."""

    idle: float = 25.0
    stall: float = 5.0
    gather: float = 0.5
    answer: float = 60.0
    retry: float = 0.25
    retry_most: float = 10.0
    patience: float = 300.0


@dataclass(frozen=True, slots=True)
class PushProgress:
    """The id of the stream, the bytes read from the input, those durable at the server, and the error that is
    being retried or ends the push."""

    id: str
    taken: int
    durable: int
    trouble: ClientError | None = None


OnProgress = Callable[[PushProgress], None]
Step = Callable[[], Awaitable[Any]]


class _Stalled(Exception):
    """The server responds, but the bytes sent do not arrive: something on the path holds them back."""


class Push:
    """One push. `run` sends everything. If it fails, `state` and the buffer say what is left."""

    def __init__(
        self,
        uploads: Uploads,
        buffer: Buffer,
        creation: Creation,
        *,
        pace: Pace | None = None,
        state: UploadState | None = None,
        on_progress: OnProgress = lambda _: None,
    ) -> None:
        self.state = state
        """The last known state of the stream, None until it is created. Its offset is the buffer's start."""
        self.digest: str | None = None
        """The `Stream-Digest` of all bytes, known once the input has ended."""
        self.closes = True
        """True if the end of the buffer is the end of the stream."""
        self.members: Mapping[str, Any] | None = None
        """What to merge into the stream's metadata before its end."""
        self._uploads = uploads
        self._buffer = buffer
        self._creation = creation
        self._pace = pace or Pace()
        self._on_progress = on_progress
        self._backoff = Backoff(None, first=self._pace.retry, most=self._pace.retry_most)
        self._route = Route(self._pace.stall)
        self._waiting_since: float | None = None
        self._sent = buffer.start
        """The end of the bytes that any request has sent."""
        self._takeover_from: int | None = None
        """The epoch from which a takeover was requested whose response has not arrived."""

    async def run(self) -> None:
        """Return once the stream is complete and durable; if it is not to be closed, once it has all bytes.

        Raises Refused; Fenced if another producer has the stream; Lost when patience has run out.
        """
        step: Step | None = self._restart
        while step is not None:
            try:
                step = await step()
            except ClientError as error:
                if error.code in STATE_MISMATCH:
                    # Nothing was appended. What the state is now decides whether to resume or to stop.
                    step = self._locate
                elif error.temporary:
                    await self._wait_to_retry(error)
                    step = self._restart
                else:
                    raise
        self._on_success()

    @property
    def id(self) -> str:
        """The id of the stream."""
        return self._uploads.id

    def report(self, error: ClientError | None = None) -> None:
        """Pass on the progress, with the error that stops it."""
        self._on_progress(PushProgress(self.id, self._buffer.end, self._buffer.start, error))

    @property
    def _restart(self) -> Step:
        return self._create if self.state is None else self._locate

    async def _create(self) -> Step:
        try:
            state = await self._uploads.create(self._creation.headers, force=self._creation.force)
        except Refused as error:
            if error.code != "exists" or not self._creation.new_id:
                raise
            self._uploads = self._uploads.renumbered()
            return self._create
        # A repeated creation may find the stream of the first one: its response was lost. It is still empty,
        # unless another producer has appended.
        if state.offset != self._buffer.start:
            raise Fenced("Another producer has written to this stream since it was created.")
        self.state = state
        self._on_success()
        return self._proceed

    async def _locate(self) -> Step:
        """Find the offset to resume from after anything went wrong."""
        state = await self._uploads.locate()
        self._check_producer(state)
        self._on_confirmed(state, self._sent)
        return self._proceed

    async def _proceed(self) -> Step | None:
        await self._buffer.wait_beyond(self._buffer.start)
        if self._buffer.size:
            return self._send
        return self._close if self.closes else None

    async def _close(self) -> None:
        assert self.state
        if self.members is not None:
            await self._uploads.describe(self.state.key, self.members)
            self.members = None
        with self._taking_over():
            self.state = await self._uploads.close(self.state, self.digest)

    async def _send(self) -> Step:
        """Send one PATCH: a long one, or on some paths a short one with the bytes that the buffer has."""
        length = await self._wait_for_batch() if self._route.short else None
        request = Request(self._buffer.start, length, self._route.lifetime)
        try:
            with self._taking_over():
                await self._patch(request)
        except _Stalled:
            self._route.short = True
            return self._locate
        except Refused as error:
            if error.status != 413 or self._route.short:
                raise
            # The limit of a proxy, to be met by short requests. If the server's own, they are refused, too.
            self._route.short = True
            return self._locate
        except Lost:
            self._route.on_loss(request, arrived=self._buffer.start > request.start)
            raise
        return self._proceed

    async def _patch(self, request: Request) -> None:
        """Send a request, and check its progress until the response has ended."""
        assert self.state
        sending = asyncio.ensure_future(
            self._uploads.append(
                self.state,
                self._body(request),
                lambda state: self._on_confirmed(state, request.sent),
                length=request.length,
            )
        )
        try:
            while not sending.done() and not request.failed.done():
                either: list[asyncio.Future[None]] = [sending, request.failed]
                await asyncio.wait(either, timeout=self._pace.stall, return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    await self._check_progress(request)
            if request.failed.done():
                request.failed.result()
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the bytes of the buffer, stored and new, until it is time to end this request."""
        loop = asyncio.get_running_loop()
        # aiohttp sends the headers with the first chunk: an empty one sends them now.
        yield b""
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
                        await self._buffer.wait_beyond(request.sent)
        except TimeoutError:
            # A silent input holds no request open: proxies cut idle ones.
            pass
        except OSError as error:
            # aiohttp would swallow an exception of the body. `_patch` raises it.
            request.failed.set_exception(error)
        request.ended = loop.time()

    async def _check_progress(self, request: Request) -> None:
        """Raise _Stalled or Lost if this request should be given up."""
        now = asyncio.get_running_loop().time()
        if request.ended is not None and now - request.ended > self._pace.answer:
            raise Lost("The server did not answer in time.")
        sent, confirmed = request.checked
        request.checked = (request.sent, self._buffer.start)
        # A short request is confirmed at its end only. A long one is healthy if bytes were confirmed since
        # the last check, or if all bytes sent before that check are confirmed.
        if request.length is not None or self._buffer.start > confirmed or self._buffer.start >= sent:
            return
        # No report of progress. Ask on another connection whether the bytes arrive: if not, the path holds
        # back the request; if they do, it holds back the response alone, which does no harm.
        state = await self._uploads.locate()
        self._check_producer(state)
        if state.offset <= self._buffer.start:
            raise _Stalled
        self._on_confirmed(state, request.sent)

    @contextmanager
    def _taking_over(self) -> Iterator[None]:
        """Surround a request that takes the stream over from the known epoch.

        If its response is lost, the epoch may or may not have risen by one. Remember that: see
        `_check_producer`. A refusal with STATE_MISMATCH says that this request changed nothing.
        """
        assert self.state
        before, self._takeover_from = self._takeover_from, self.state.epoch
        try:
            yield
        except Refused as error:
            if error.code in STATE_MISMATCH:
                self._takeover_from = before
            raise

    def _check_producer(self, state: UploadState) -> None:
        """Raise Fenced if the stream was replaced, or another producer took it over.

        An epoch above the known one is another producer's, except one: that of our own takeover whose
        response was lost. All our takeovers start from the known epoch, so they raise it by one at most.
        """
        assert self.state
        if state.key != self.state.key:
            raise Fenced("The stream was replaced by another one of the same id.")
        ours = self.state.epoch + (self._takeover_from == self.state.epoch)
        if state.epoch > ours:
            raise Fenced("Another producer has taken the stream over.")

    def _on_confirmed(self, state: UploadState, sent: int) -> None:
        """Record a state that the server reported: its bytes are durable; those up to `sent` are ours."""
        if state.offset < self._buffer.start:
            # The buffer has released these bytes. A server that loses confirmed bytes cannot be resumed.
            raise Refused(409, f"The server has {state.offset} of {self._buffer.start} confirmed bytes.")
        if state.offset > sent:
            raise Fenced("The stream has bytes that this producer did not send.")
        self.state = state
        if state.offset > self._buffer.start:
            self._buffer.release(state.offset)
            self._route.on_arrival()
            self._on_success()

    def _on_success(self) -> None:
        self._backoff.reset()
        self._waiting_since = None
        self.report()

    async def _wait_for_batch(self) -> int:
        """Wait until a short request is due. Return the number of its bytes."""
        try:
            async with asyncio.timeout(self._pace.gather):
                await self._buffer.wait_beyond(self._buffer.start + SHORT_BYTES - 1)
        except TimeoutError:
            pass
        return min(self._buffer.size, SHORT_BYTES)

    async def _wait_to_retry(self, error: ClientError) -> None:
        """Wait before the next attempt. Raise `error` if patience has run out.

        Patience runs only while the outage costs something: while the input must wait or has ended. The
        buffer takes the input otherwise, for an outage of any length.
        """
        now = asyncio.get_running_loop().time()
        if not (self._buffer.ended or self._buffer.full):
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > self._pace.patience:
            raise error
        self.report(error)
        await self._backoff.wait(error)
