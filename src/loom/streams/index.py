"""Read the sparse index of a stream: where lines begin, how many there are, and when bytes arrived."""

from dataclasses import dataclass

from loom.model import Info
from loom.store.base import Store
from loom.store.places import MAX_LINE, ORIGIN, LinePlace, Moment
from loom.streams.reading import read_exactly

COUNTED = 1 << 20
"""If no more bytes than this follow the last indexed line, they are counted on request."""


@dataclass(frozen=True, slots=True)
class Index:
    """Some line starts of a stream. Bytes [0, indexed) contain `lines` line ends."""

    info: Info
    places: list[LinePlace]
    lines: int
    indexed: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When bytes of a stream arrived, as of Store.moments."""

    info: Info
    moments: list[Moment]


async def read_arrivals(store: Store, info: Info, offset: int) -> Arrivals:
    """Return when the bytes from `offset` on arrived. Raises StreamNotFound, StoreStopped."""
    # Moments after the size in `info` are of bytes that this answer does not know.
    moments = await store.moments(info.key, offset)
    return Arrivals(info, [each for each in moments if each.offset <= info.size])


async def read_index(store: Store, info: Info, lines: tuple[int, int], count: int) -> Index:
    """Return about `count` line starts between the first and the last of `lines`; see Store.places.

    Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
    """
    places = await store.places(info.key, lines, count)
    last = await store.place(info.key, MAX_LINE)
    # The store's index may have grown past the size in `info`, which all figures have to agree with.
    if last.offset > info.size:
        last = ORIGIN
    ends, indexed = last.line - 1, last.offset
    if info.size - indexed <= COUNTED:
        async with await store.open(info.key) as content:
            ends += (await read_exactly(content, indexed, info.size)).count(b"\n")
        indexed = info.size
    return Index(info, [each for each in places if each.offset <= info.size], ends, indexed)
