"""Additions to shared streams, by many writers at once. Owns the moment in which one is accepted."""

import asyncio
from collections.abc import Collection

from loom.errors import StorageFull
from loom.model import Clock, Info
from loom.store import rules
from loom.store.base import Decide
from loom.store.files.changes import Changes
from loom.store.files.checkpoints import Checkpoints
from loom.store.files.commit import Commits
from loom.store.files.queries import CatalogReader
from loom.store.files.stream import Stream
from loom.store.files.table import Table
from loom.store.files.writer import Bounds, wait_for_room


class Additions:
    """Store.append."""

    def __init__(
        self,
        changes: Changes,
        table: Table,
        reader: CatalogReader,
        commits: Commits,
        checkpoints: Checkpoints,
        *,
        clock: Clock,
        bounds: Bounds,
    ) -> None:
        self._changes = changes
        self._table = table
        self._reader = reader
        self._commits = commits
        self._checkpoints = checkpoints
        self._clock = clock
        self._bounds = bounds

    async def append(self, key: str, names: Collection[str], decide: Decide) -> Info:
        stream = self._changes.stream(key)
        with self._table.held(stream):
            rules.check_shared(stream.info)
            answer: Info | Exception
            closing: asyncio.Future[None] | None = None
            # The lock is given in the order of arrival. Where no change is under way, it is free.
            await stream.lock.acquire()
            try:
                await wait_for_room(
                    stream, self._commits, self._bounds, lambda: self._changes.check_there(stream)
                )
                # Nothing is awaited until the lock is released.
                try:
                    answer, closing = self._accept(stream, names, decide)
                except Exception as error:
                    answer = error
                last = closing or stream.ledger.newest
            finally:
                if closing is None:
                    stream.lock.release()
                else:
                    # Nothing is accepted after the end, also if this caller is cancelled.
                    closing.add_done_callback(lambda _: stream.lock.release())
            # A refusal or a repeat may be due to something that is not durable yet.
            if last is not None:
                await asyncio.shield(last)
            if isinstance(answer, Exception):
                raise answer
            return answer

    def _accept(
        self, stream: Stream, names: Collection[str], decide: Decide
    ) -> tuple[Info, asyncio.Future[None] | None]:
        """Queue an addition; return the stream after it, and the future of its patch."""
        before = stream.accepted_view
        known = self._look_up(stream, names) if before.ledger else {}
        addition = decide(before, known)
        rules.check_addition(before, names, addition)
        if any(addition.data) and self._checkpoints.full:
            raise StorageFull("Too little disk space is left to take more bytes.")
        growth = rules.growth(known, addition.entries)
        self._commits.add(stream, addition.data, addition.entries, growth)
        after = stream.accepted_view
        if addition.patch is None:
            return after, None
        row = rules.apply(after, addition.patch, self._clock())
        return row, self._commits.submit(stream, put=row)

    def _look_up(self, stream: Stream, names: Collection[str]) -> dict[str, str]:
        """Return those of the entries that the ledger has, the accepted ones included."""
        known = {}
        for name in names:
            value = stream.ledger.find(name)
            if value is None:
                value = self._reader.entry(stream.number, name)
            if value is not None:
                known[name] = value
        return known
