"""Access to the internals of a files store, for the tests of this project only. Private.

Tests reach a store through two seams: the `Disk` it is started with, which fails, waits and counts, and this.
"""

from loom.model import State
from loom.store.files.parts import Parts
from loom.store.files.store import FilesStore
from loom.store.files.table import Table


class Inside:
    """What a store holds at the moment, and its checkpoints on demand."""

    def __init__(self, store: FilesStore) -> None:
        self.parts: Parts = store._parts
        self.table: Table = store._table
        self._store = store

    def request_checkpoint(self) -> None:
        """Start a checkpoint, without waiting for it."""
        self._store._checkpoints.request()

    async def checkpoint(self) -> None:
        """Wait until a checkpoint covers everything committed so far."""
        checkpoints = self._store._checkpoints
        lsn = checkpoints.applied
        checkpoints.request()
        while checkpoints.reached < lsn:
            await checkpoints.wait_round()

    async def wait_round(self) -> None:
        """Wait until a round of images ends."""
        await self._store._checkpoints.wait_round()

    @property
    def reached(self) -> int:
        """The newest commit that a checkpoint covers."""
        return self._store._checkpoints.reached

    async def wait_changes(self) -> None:
        """Wait until no change is under way, those included whose callers were cancelled."""
        await self._store._changes.wait_idle()

    @property
    def changing(self) -> bool:
        """True if a change is under way, or a name is held for one."""
        return bool(self._store._changes._tasks or self._store._changes._names)

    @property
    def queued(self) -> bool:
        """True if a stream waits for the next commit cycle."""
        return bool(self._store._commits._marked)

    @property
    def in_flight(self) -> int:
        """Bytes accepted and not yet durable."""
        return self._store._commits.in_flight

    @property
    def closing(self) -> bool:
        """True if no round begins any more, except the last ones."""
        return self._store._images._closing

    @property
    def applied(self) -> int:
        """The newest commit that is shown."""
        return self._store._checkpoints.applied

    @property
    def catalog_lags(self) -> bool:
        """True if the catalog lacks a row, or a delete."""
        return bool(self.table._changed or self.table._storing or self.table._dropped)

    @property
    def at_rest(self) -> bool:
        """True if nothing is under way, and memory holds live streams only."""
        streams = self.table.all()
        assert set(self.table._ids.values()) == set(streams)
        return not (
            self.changing
            or self.in_flight
            or self.queued
            or self.catalog_lags
            or self.parts.content.pinned
            or any(each.info.state is not State.LIVE for each in streams)
            or any(each.recent or each.pending or each.ops or each.sinks or each.opened for each in streams)
        )

    def keep_no_file_open(self) -> None:
        """Close every content file as soon as it is not in use."""
        self.parts.content._max_open = 0

    def image_lsn(self) -> int:
        """Return the commit that an image taken now would cover."""
        image = self._store._images._prepare()
        self.table.give_back()
        return image.lsn
