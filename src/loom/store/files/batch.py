"""One batch: what a commit cycle makes durable, and its frame in the log. Does no I/O."""

from dataclasses import dataclass, field, replace

from loom.store.files.records import Delete, Entries, Extent, Put, Record, encode, encode_append
from loom.store.files.stream import Op, Stream, Write

OP_SIZE = 1024


@dataclass(slots=True)
class Batch:
    """What one cycle makes durable. In the log, every change comes after all bytes."""

    writes: list[Write] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    lsn: int = 0

    def take_ops(self, stream: Stream) -> int:
        """Take the changes of a stream that has nothing else pending; return their weight.

        A change comes after every byte queued before it. As none is pending, the sizes that are logged with
        it are exact.
        """
        weight = 0
        while stream.ops and not stream.untaken:
            op = stream.ops.popleft()
            op.size, op.ledger = stream.taken, stream.ledger.accepted
            weight += most_bytes(op)
            self.ops.append(op)
        return weight

    def frame(self) -> bytes:
        """Return the records of everything but the writes that have failed, and their streams' changes."""
        failed = {write.stream for write in self.writes if write.error}
        parts: list[bytes] = []
        for write in self.writes:
            if write.error is None:
                parts += encoded(write)
        for op in self.ops:
            if op.stream not in failed:
                for record in records_of(op):
                    parts += encode(record)
        return b"".join(parts)


def encoded(write: Write) -> list[bytes]:
    """Return the records of a write: its bytes, or where they are, then its entries."""
    number = write.stream.number
    if write.large:
        parts = encode(Extent(number, write.offset, write.size, write.digest))
    elif write.size:
        parts = encode_append(number, write.offset, write.chunks)
    else:
        parts = []
    return parts + encode(Entries(number, write.ledger, write.entries)) if write.entries else parts


def most_bytes(op: Op) -> int:
    """Return an upper bound of the bytes of a change in the log: JSON writes a character as up to twelve."""
    put = op.put
    texts = (
        (put.id, put.metadata, put.content_type, put.reason, put.idempotency_key, put.owner) if put else ()
    )
    return OP_SIZE + 12 * sum(map(len, texts))


def records_of(op: Op) -> list[Record]:
    """Return the records of a change: the delete of a replaced stream precedes the new stream."""
    records: list[Record] = []
    if op.drop is not None:
        records.append(Delete(op.drop.number))
    if op.put is not None:
        records.append(Put(op.stream.number, replace(op.put, size=op.size, ledger=op.ledger)))
    return records
