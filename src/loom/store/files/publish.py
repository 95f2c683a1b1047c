"""Make a commit visible: to the table, to writers, followers and watchers, in that order.

Called once a commit is durable, never before. Belongs to the event loop; knows no file and no log.
"""

from collections.abc import Callable, Iterable

from loom.errors import LoomError, StorageFull, StreamFailed
from loom.model import Change, ChangeKind, Clock, Info
from loom.store import rules
from loom.store.base import Subscription
from loom.store.common import Member, targets
from loom.store.files.images import NO_SPACE, Images
from loom.store.files.stream import Op, Stream, Write
from loom.store.files.table import Table


class Publisher:
    """Shows what commits have made durable. `on_unstored` is called for a stream whose bytes failed."""

    def __init__(
        self, table: Table, images: Images, clock: Clock, on_unstored: Callable[[Stream, OSError], None]
    ) -> None:
        self._table = table
        self._images = images
        self._clock = clock
        self._on_unstored = on_unstored
        self._watchers: dict[Member[Callable[[Change], None]], None] = {}

    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        """Call back for each stream that is created, ends or is deleted."""
        return Member(self._watchers, callback)

    def show_writes(self, writes: Iterable[Write]) -> None:
        """Show bytes that have become durable."""
        now = self._clock()
        for write in writes:
            stream = write.stream
            if stream.error is None:
                if write.size:
                    stream.add_moment(now)
                stream.add_durable(write.chunks, filed=write.large)
                self._table.size += write.size
                self._table.holdings.grow(write.ledger - stream.ledger.durable)
                stream.ledger.settle(write.ledger)
                if write.large and write.count is not None:
                    stream.add_count(write.count, write.places)
                self._table.changed(stream)
                self._images.note(stream, large=write.size if write.large else 0)

    def show_failure(self, stream: Stream, error: OSError, ops: Iterable[Op]) -> None:
        """Halt a stream whose accepted bytes could not be stored, with its changes among `ops`.

        A shared one stays open: each of its writers gets the error and may retry.
        """
        failed = unstored(stream, error)
        for op in ops:
            if op.stream is stream:
                op.fail(failed)
        stream.halt(failed)
        if self._table.has(stream) and not stream.info.framing:
            self._on_unstored(stream, error)

    def show_change(self, op: Op) -> None:
        """Show a change that has become durable, then answer its caller."""
        if op.drop is not None:
            self._show_delete(op.drop)
        if op.put is not None:
            kinds = rules.announced(None if op.put.version == 1 else op.stream.info, op.put)
            self._table.holdings.change(op.stream.info, op.put)
            op.stream.set_row(op.put)
            self._table.changed(op.stream)
            for kind in kinds:
                self._notify(kind, op.stream.view)
        op.done.set_result(None)

    def _show_delete(self, stream: Stream) -> None:
        before, shown = stream.view, self._table.has(stream)
        self._table.drop(stream)
        if shown:
            self._table.size -= before.size
            self._table.holdings.remove(before)
            stream.end(rules.gone(before))
            self._notify(ChangeKind.DELETED, before)

    def _notify(self, kind: ChangeKind, info: Info) -> None:
        change = Change(kind, info)
        for callback in targets(self._watchers):
            callback(change)


def unstored(stream: Stream, error: OSError) -> LoomError:
    """Return the error for the producers of a stream whose bytes could not be stored."""
    if stream.info.framing and error.errno in NO_SPACE:
        return StorageFull("No disk space is left to take more bytes.")
    return StreamFailed(f"The stream with ID {stream.info.id} could not be stored further: {error.strerror}.")
