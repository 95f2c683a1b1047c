"""From an input to a stream: joins the input, the buffer, the push and the spool.

Owns the order of their ends. The input is read as it comes, whether the server is there or not, so that who
writes it never waits for the network, until `limit` bytes are unacknowledged.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loom.client import spool
from loom.client.buffer import MEMORY_BYTES, Buffer
from loom.client.errors import ClientError, Fenced, InputFailed, Spooled
from loom.client.push import CHUNK_BYTES, Creation, Pace, Push, Tell
from loom.client.session import Backoff, Session
from loom.client.uploads import Place, Uploads

MAX_BUFFER = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What becomes of bytes that the server has not confirmed: `limit` of them are held at most, then the
    input waits. With `spool`, what could not be sent in the end is kept there, and the input is read to its
    end for it."""

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
    closing: Callable[[], Mapping[str, Any]] | None = None,
    tell: Tell = lambda _: None,
) -> Place:
    """Create the stream `id` and bring it `chunks`; returns once all of it, and its end, is durable.

    `closing` is asked at the input's end for what is to be merged into the stream's metadata. When cancelled
    the stream is left as it is, never complete; with a spool what it has not got is kept there. When `chunks`
    raises, what came before is brought, and the stream stays open: InputFailed. Raises also Refused, Fenced,
    Lost; with a spool Spooled in their place, or SpoolError.
    """
    creation = creation or Creation()
    keeping = keeping or Keeping()
    uploads = Uploads(session, id)
    buffer = Buffer(limit=keeping.limit, directory=keeping.spool)
    work = Push(uploads, buffer, creation, pace=pace, tell=tell)
    pumping = asyncio.create_task(_pump(chunks, buffer, work, hashlib.sha256(), closing))
    try:
        try:
            await work.run()
        except ClientError as error:
            if keeping.spool is None:
                raise
            buffer.lift()
            await asyncio.wait({pumping})
            left = _left(session, id, creation, work, buffer)
            raise Spooled(error, await spool.save(keeping.spool, left, _rest(buffer))) from error
        except asyncio.CancelledError:
            if keeping.spool is not None and buffer.end > buffer.start:
                work.closes = work.closes and pumping.done()  # else the input was not at its end
                pumping.cancel()
                await asyncio.wait({pumping})
                left = _left(session, id, creation, work, buffer)
                await spool.save(keeping.spool, left, _rest(buffer))
            raise
        await pumping
        assert work.place
        return work.place
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        buffer.close()


async def resume(
    session: Session, spooled: spool.Spooled, *, pace: Pace | None = None, tell: Tell = lambda _: None
) -> Place:
    """Bring what is left of an earlier push. Raises Refused, Fenced, Lost, InputFailed."""
    left = spooled.left
    pace = pace or Pace()
    uploads = Uploads(session, left.id)
    creation = Creation(
        metadata=left.metadata,
        content_type=left.content_type,
        force=left.force,
        resume_window=left.resume_window,
        ttl=left.ttl,
        idempotency_key=left.idempotency_key,
    )
    place = None
    if left.key is not None:
        place = await _placed(uploads, Place(left.offset, left.key, left.epoch), left.size, pace)
    buffer = Buffer(start=left.offset if place is None else place.offset, limit=MEMORY_BYTES)
    work = Push(uploads, buffer, creation, pace=pace, place=place, tell=tell)
    work.closes = left.whole
    pumping = asyncio.create_task(_pump(spooled.read(buffer.start), buffer, work, None))
    work.digest, work.members = left.digest, left.members
    try:
        await work.run()
        await pumping
        assert work.place
        return work.place
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        buffer.close()


async def _placed(uploads: Uploads, place: Place, size: int, pace: Pace) -> Place:
    """Where the stream is now that was left at `place`; its bytes up to `size` may have come."""
    backoff = Backoff(pace.patience)
    while True:
        try:
            now = await uploads.locate()
        except ClientError as error:
            await backoff.wait(error)
            continue
        if now.key != place.key or not place.offset <= now.offset <= size:
            raise Fenced("The stream is not the one that these bytes belong to.")
        return now


def _left(session: Session, id: str, creation: Creation, work: Push, buffer: Buffer) -> spool.Left:
    place = work.place
    return spool.Left(
        server=str(session.server.with_user(None)),  # no password
        id=id,
        key=place.key if place else None,
        epoch=place.epoch if place else 0,
        offset=buffer.start,
        size=buffer.end,
        whole=work.closes,
        digest=work.digest,
        members=None if work.members is None else dict(work.members),
        metadata=creation.metadata,
        content_type=creation.content_type,
        force=creation.force,
        resume_window=creation.resume_window,
        idempotency_key=creation.idempotency_key,
        ttl=creation.ttl,
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
    closing: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Bring the input to the buffer. Raises InputFailed; the stream is not to be closed then."""
    try:
        async for chunk in chunks:
            if digest is not None:
                digest.update(chunk)
            await buffer.append(chunk)
        if digest is not None:
            work.digest = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        if closing is not None:
            work.members = closing()
    except Exception as error:
        work.closes = False
        raise InputFailed("The input failed.") from error
    finally:
        buffer.finish()
