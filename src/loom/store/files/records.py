"""The records of the commit log as bytes. Pure: values in, values out; knows no file.

A frame is what one commit cycle writes: a header, then records back to back. A frame that is not whole does
not count.

    frame   magic "LmF1", length of the records (u32), lsn (u64), XXH3 of the records seeded with the log's
            seed and the lsn (u64); all little-endian
    record  kind (u8), stream number (u64), then
            PUT     length (u32), the stream's row as JSON, with its size at this point of the log
            APPEND  offset (u64), length (u32), the bytes
            EXTENT  offset (u64), length (u32), XXH3 (u64) of bytes already durable in the content file
            DELETE  nothing
            LEDGER  size of the ledger after it (u64), length (u32), entries as a JSON object
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from xxhash import xxh3_64

from loom.model import Framing, Info, State

MAGIC = b"LmF1"
HEADER = struct.Struct("<4sIQQ")
HEAD = struct.Struct("<BQ")
PUT_LENGTH = struct.Struct("<I")
APPEND_HEAD = struct.Struct("<QI")
APPEND_RECORD = struct.Struct("<BQQI")
EXTENT_HEAD = struct.Struct("<QIQ")
LEDGER_HEAD = struct.Struct("<QI")
PUT, APPEND, EXTENT, DELETE, LEDGER = 1, 2, 3, 4, 5

INFO_FIELDS = frozenset(field.name for field in fields(Info))


@dataclass(frozen=True, slots=True)
class Put:
    """The row of stream `number` is `info`."""

    number: int
    info: Info


@dataclass(frozen=True, slots=True)
class Append:
    """Bytes of stream `number` at `offset`. `data` is a view of the log if it was read from there."""

    number: int
    offset: int
    data: Sequence[bytes] | memoryview


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes [offset, offset + length) of stream `number` are in its content file and have this digest."""

    number: int
    offset: int
    length: int
    digest: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The stream `number` is deleted."""

    number: int


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries that are set in the ledger of stream `number`, whose size is then `size`."""

    number: int
    size: int
    entries: Mapping[str, str]


Record = Put | Append | Extent | Delete | Entries


def digest_of(parts: Sequence[bytes | memoryview], seed: int = 0) -> int:
    """Return the XXH3 (64 bits) of the parts, joined."""
    hasher = xxh3_64(seed=seed)
    for part in parts:
        hasher.update(part)
    return hasher.intdigest()


def encode(record: Record) -> list[bytes]:
    """Return one record as bytes objects. Those of an Append are not copied."""
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
        case Entries(number, size, entries):
            text = encode_entries(entries)
            return [HEAD.pack(LEDGER, number) + LEDGER_HEAD.pack(size, len(text)) + text]


def encode_append(number: int, offset: int, parts: Sequence[bytes]) -> list[bytes]:
    """Encode an Append without making one: a cycle may have thousands."""
    return [APPEND_RECORD.pack(APPEND, number, offset, sum(map(len, parts))), *parts]


def encode_entries(entries: Mapping[str, str]) -> bytes:
    """Return entries as JSON in ASCII."""
    return json.dumps(entries, separators=(",", ":")).encode("ascii")


def frame(seed: int, lsn: int, parts: Sequence[bytes]) -> bytes:
    """Return the header of a frame whose records are `parts`."""
    return HEADER.pack(MAGIC, sum(map(len, parts)), lsn, digest_of(parts, seed ^ lsn))


def read_frame(seed: int, view: memoryview, offset: int) -> tuple[int, memoryview] | None:
    """Return the lsn and the records of the frame at `offset`, None if no whole frame is there."""
    if offset + HEADER.size > len(view):
        return None
    magic, length, lsn, digest = HEADER.unpack_from(view, offset)
    start = offset + HEADER.size
    if magic != MAGIC or start + length > len(view):
        return None
    payload = view[start : start + length]
    return (lsn, payload) if digest_of([payload], seed ^ lsn) == digest else None


def decode(payload: memoryview) -> Iterator[Record]:
    """Yield the records of a whole frame. Raises ValueError or struct.error for another version's log."""
    at = 0
    while at < len(payload):
        kind, number = HEAD.unpack_from(payload, at)
        at += HEAD.size
        if kind == PUT:
            (length,) = PUT_LENGTH.unpack_from(payload, at)
            at += PUT_LENGTH.size
            yield Put(number, info_of(json.loads(bytes(payload[at : at + length]))))
            at += length
        elif kind == APPEND:
            offset, length = APPEND_HEAD.unpack_from(payload, at)
            at += APPEND_HEAD.size
            yield Append(number, offset, payload[at : at + length])
            at += length
        elif kind == EXTENT:
            yield Extent(number, *EXTENT_HEAD.unpack_from(payload, at))
            at += EXTENT_HEAD.size
        elif kind == DELETE:
            yield Delete(number)
        elif kind == LEDGER:
            size, length = LEDGER_HEAD.unpack_from(payload, at)
            at += LEDGER_HEAD.size
            yield Entries(number, size, json.loads(bytes(payload[at : at + length])))
            at += length
        else:
            raise ValueError(f"record kind {kind} is not of this version")


def info_of(row: dict[str, Any]) -> Info:
    """Return the row of a Put. Raises ValueError for unknown fields, which would be lost otherwise."""
    unknown = row.keys() - INFO_FIELDS
    if unknown:
        raise ValueError(f"fields {sorted(unknown)} are not of this version")
    words = {"state": State(row["state"]), "framing": Framing(row.get("framing", ""))}
    return Info(**{**row, **words})
