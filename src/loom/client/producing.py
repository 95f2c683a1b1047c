"""From an input to a stream: connects the input, the buffer, the push and the spool, and ends them in order.

The input is read as it arrives, whether or not the server can be reached, so that its writer never waits for
the network until the buffer is full. `send_once` does without all of this.
"""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from loom.client import spool
from loom.client.buffer import MEMORY_BYTES, Buffer
from loom.client.errors import ClientError, Fenced, InputFailed, Lost, Spooled
from loom.client.push import OnProgress, Pace, Push
from loom.client.route import CHUNK_BYTES
from loom.client.session import Backoff, Session
from loom.client.uploads import Creation, Uploads, UploadState
from loom.wire.fields import digest_field

MAX_BUFFER = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How unconfirmed bytes are kept: the input waits while there are `limit` of them. With the directory
    `spool`, what could not be sent in the end is stored there, with the rest of the input."""

    limit: int = MAX_BUFFER
    spool: Path | None = None


async def push(
    session: Session,
    id: str,
    chunks: AsyncIterable[bytes],
    *,
    creation: Creation | None = None,
    pace: Pace | None = None,
    keeping: Keeping | None = None,
    final_members: Callable[[], Mapping[str, Any]] | None = None,
    on_progress: OnProgress = lambda _: None,
) -> UploadState:
    """Create the stream `id`, send `chunks`, and return once the stream is complete and durable.

    `final_members` is called at the end of the input; its result is merged into the stream's metadata. If
    cancelled, the stream stays incomplete, and unconfirmed bytes are stored in the spool, if there is one. If
    `chunks` raises, the bytes before are sent, the stream stays open, and InputFailed is raised. Raises also
    Refused, Fenced and Lost; with a spool Spooled in their place, or SpoolError.
    """
    creation = creation or Creation()
    keeping = keeping or Keeping()
    uploads = Uploads(session, id)
    buffer = Buffer(limit=keeping.limit, directory=keeping.spool)
    work = Push(uploads, buffer, creation, pace=pace, on_progress=on_progress)
    pumping = asyncio.create_task(_pump(chunks, buffer, work, hashlib.sha256(), final_members))
    try:
        try:
            await work.run()
        except ClientError as error:
            if keeping.spool is None:
                error.unsent = buffer.size
                raise
            work.report(error)
            # The spool file replaces the stream: it needs the whole input.
            buffer.lift_limit()
            await asyncio.wait({pumping})
            remainder = _remainder(session, creation, work, buffer)
            raise Spooled(error, await spool.save(keeping.spool, remainder, _rest(buffer))) from error
        except asyncio.CancelledError:
            if keeping.spool is not None and buffer.end > buffer.start:
                work.closes = work.closes and pumping.done()  # an input that was cut has no end to confirm
                pumping.cancel()
                await asyncio.wait({pumping})
                remainder = _remainder(session, creation, work, buffer)
                await spool.save(keeping.spool, remainder, _rest(buffer))
            raise
        await pumping
        assert work.state
        return work.state
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        buffer.close()


async def resume(
    session: Session,
    file: spool.SpoolFile,
    *,
    force: bool = False,
    new_id: bool = False,
    pace: Pace | None = None,
    on_progress: OnProgress = lambda _: None,
) -> UploadState:
    """Send the remainder of an earlier push. Raises Refused, Fenced, Lost, InputFailed.

    `force` and `new_id` are for a stream that was never created, because its id was taken.
    """
    left = file.remainder
    pace = pace or Pace()
    uploads = Uploads(session, left.id)
    creation = Creation(**{each.name: getattr(left, each.name) for each in fields(Creation)})
    creation = replace(creation, force=left.force or force, new_id=left.new_id or new_id)
    state = None
    if left.key is not None:
        state = await _locate(uploads, UploadState(left.offset, left.key, left.epoch), left.size, pace)
    buffer = Buffer(start=left.offset if state is None else state.offset, limit=MEMORY_BYTES)
    work = Push(uploads, buffer, creation, pace=pace, state=state, on_progress=on_progress)
    work.closes = left.whole
    work.digest, work.members = left.digest, left.members
    pumping = asyncio.create_task(_pump(file.read(buffer.start), buffer, work, None))
    try:
        await work.run()
        await pumping
        assert work.state
        return work.state
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        buffer.close()


async def send_once(
    session: Session,
    id: str,
    chunks: AsyncIterable[bytes],
    *,
    headers: Mapping[str, str],
    force: bool = False,
) -> None:
    """Create the stream `id` and send `chunks` in one request, each as it arrives. Return once all is stored.

    Nothing is kept or resumed: memory holds one chunk and the connection's buffer. If cancelled, or if
    `chunks` raises, the connection is cut, so that the server never takes the stream for complete. Raises
    Refused, Lost, InputFailed.
    """
    sent = False
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        # aiohttp sends the headers with the first chunk: an empty one sends them now.
        yield b""
        try:
            async for chunk in chunks:
                yield chunk
        except Exception as error:
            # aiohttp would wait for the response all the same. The caller does not, and cancels this.
            failed.set_result(error)
            await asyncio.Event().wait()
        sent = True

    request = asyncio.ensure_future(Uploads(session, id).post(headers, body(), force=force))
    either: list[asyncio.Future[Any]] = [request, failed]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    if failed.done():
        error = failed.result()
        raise InputFailed(error) from error
    request.result()
    if not sent:
        raise Lost("The server ended the response before it had the whole stream.")


async def _locate(uploads: Uploads, known: UploadState, size: int, pace: Pace) -> UploadState:
    """Return the state of a stream whose last known state is `known`. Bytes up to `size` may have arrived."""
    backoff = Backoff(pace.patience)
    while True:
        try:
            state = await uploads.locate()
        except ClientError as error:
            await backoff.wait(error)
            continue
        if state.key != known.key or not known.offset <= state.offset <= size:
            raise Fenced("The stream is not the one that these bytes belong to.")
        return state


def _remainder(session: Session, creation: Creation, work: Push, buffer: Buffer) -> spool.Remainder:
    return spool.Remainder(
        server=session.name,
        id=work.id,
        key=work.state.key if work.state else None,
        epoch=work.state.epoch if work.state else 0,
        offset=buffer.start,
        size=buffer.end,
        whole=work.closes,
        digest=work.digest,
        members=None if work.members is None else dict(work.members),
        **asdict(creation),
    )


async def _rest(buffer: Buffer) -> AsyncIterator[bytes]:
    offset = buffer.start
    while data := await buffer.read(offset, CHUNK_BYTES):
        offset += len(data)
        yield data


async def _pump(
    chunks: AsyncIterable[bytes],
    buffer: Buffer,
    work: Push,
    digest: "hashlib._Hash | None",
    final_members: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Move the input to the buffer. Raise InputFailed if it fails; the stream is then not closed."""
    try:
        async for chunk in chunks:
            if digest is not None:
                digest.update(chunk)
            await buffer.append(chunk)
        if digest is not None:
            work.digest = digest_field(b64encode(digest.digest()).decode())
        if final_members is not None:
            work.members = final_members()
    except Exception as error:
        work.closes = False
        raise InputFailed(error) from error
    finally:
        buffer.finish()
