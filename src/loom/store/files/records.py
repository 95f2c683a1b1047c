"""The records of the commit log as bytes. Pure: values in, values out; knows no file.

A frame is what one commit cycle writes: a header, then records back to back. It is whole, or it is not
there.

    frame   magic "LmF1", length of the records (u32), lsn (u64), XXH3 of the records seeded with the log's
            seed and the lsn (u64); all little-endian
    record  kind (u8), stream number (u64), then
            PUT     length (u32), the stream's row as JSON, its size as of this place in the log
            APPEND  offset (u64), length (u32), the bytes
            EXTENT  offset (u64), length (u32), XXH3 (u64) of bytes already durable in the content file
            DELETE  nothing
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from xxhash import xxh3_64

from loom.model import Info, State

MAGIC = b"LmF1"
HEADER = struct.Struct("<4sIQQ")
HEAD = struct.Struct("<BQ")
PUT_LENGTH = struct.Struct("<I")
APPEND_HEAD = struct.Struct("<QI")
APPEND_RECORD = struct.Struct("<BQQI")
EXTENT_HEAD = struct.Struct("<QIQ")
PUT, APPEND, EXTENT, DELETE = 1, 2, 3, 4

INFO_FIELDS = frozenset(field.name for field in fields(Info))


@dataclass(frozen=True, slots=True)
class Put:
    """The stream `number` is now `info`."""

    number: int
    info: Info


@dataclass(frozen=True, slots=True)
class Append:
    """Bytes of stream `number` at `offset`. `data` is a view of the log where the record was read from it."""

    number: int
    offset: int
    data: Sequence[bytes] | memoryview


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes [offset, offset + length) of stream `number` stand in its content file and have this digest."""

    number: int
    offset: int
    length: int
    digest: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The stream `number` is gone for ever."""

    number: int


Record = Put | Append | Extent | Delete


def digest_of(parts: Sequence[bytes | memoryview], seed: int = 0) -> int:
    """XXH3 (64 bits) of the parts as one."""
    hasher = xxh3_64(seed=seed)
    for part in parts:
        hasher.update(part)
    return hasher.intdigest()


def encode(record: Record) -> list[bytes]:
    """One record; appended bytes stay the objects they are."""
    match record:
        case Append(number, offset, data):
            return encode_append(number, offset, [bytes(data)] if isinstance(data, memoryview) else data)
        case Put(number, info):
            row = json.dumps(asdict(info), separators=(",", ":")).encode("ascii")
            return [HEAD.pack(PUT, number) + PUT_LENGTH.pack(len(row)) + row]
        case Extent(number, offset, length, digest):
            return [HEAD.pack(EXTENT, number) + EXTENT_HEAD.pack(offset, length, digest)]
        case Delete(number):
            return [HEAD.pack(DELETE, number)]


def encode_append(number: int, offset: int, parts: Sequence[bytes]) -> list[bytes]:
    """What `encode` makes of an Append; in a cycle there may be one for each of thousands of streams."""
    return [APPEND_RECORD.pack(APPEND, number, offset, sum(map(len, parts))), *parts]


def frame(seed: int, lsn: int, parts: Sequence[bytes]) -> bytes:
    """The header of a frame whose records are `parts`."""
    return HEADER.pack(MAGIC, sum(map(len, parts)), lsn, digest_of(parts, seed ^ lsn))


def read_frame(seed: int, view: memoryview, offset: int) -> tuple[int, memoryview] | None:
    """The lsn and the records of the frame at `offset`, or None if no whole frame is there."""
    if offset + HEADER.size > len(view):
        return None
    magic, length, lsn, digest = HEADER.unpack_from(view, offset)
    start = offset + HEADER.size
    if magic != MAGIC or start + length > len(view):
        return None
    payload = view[start : start + length]
    return (lsn, payload) if digest_of([payload], seed ^ lsn) == digest else None


def decode(payload: memoryview) -> Iterator[Record]:
    """The records of a whole frame. A ValueError or struct.error here is a bug or another version's log."""
    place = 0
    while place < len(payload):
        kind, number = HEAD.unpack_from(payload, place)
        place += HEAD.size
        if kind == PUT:
            (length,) = PUT_LENGTH.unpack_from(payload, place)
            place += PUT_LENGTH.size
            yield Put(number, info_of(json.loads(bytes(payload[place : place + length]))))
            place += length
        elif kind == APPEND:
            offset, length = APPEND_HEAD.unpack_from(payload, place)
            place += APPEND_HEAD.size
            yield Append(number, offset, payload[place : place + length])
            place += length
        elif kind == EXTENT:
            yield Extent(number, *EXTENT_HEAD.unpack_from(payload, place))
            place += EXTENT_HEAD.size
        elif kind == DELETE:
            yield Delete(number)
        else:
            raise ValueError(f"record kind {kind} is not of this version")


def info_of(row: dict[str, object]) -> Info:
    """A row as stored. Fields this version does not know are an error: dropping them would lose them."""
    unknown = row.keys() - INFO_FIELDS
    if unknown:
        raise ValueError(f"fields {sorted(unknown)} are not of this version")
    return Info(**{**row, "state": State(row["state"])})  # type: ignore[arg-type]  # rows are what encode wrote
