"""Which appends of several writers a shared stream accepts: the rules of idempotent producers. Pure.

Section 5.2.1 of the protocol of Durable Streams. A producer numbers its appends from 0 in each of its epochs.
It repeats an append until it gets an answer, and the stream takes it once. The ledger of a stream holds short
texts by name. An entry is stored in one commit with the bytes that it counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from loom.errors import BadRequest, Conflict, ProducerFenced, SequenceGap, StreamFinal
from loom.model import Info, State

MAX_LEDGER = 16 << 20
"""Bytes that the ledger of a stream may have: some 60,000 producers with the longest names. None
is forgotten while the stream exists."""

ORDER = "order"
"""The entry with the latest Stream-Seq."""


@dataclass(frozen=True, slots=True)
class Producer:
    """An append of an idempotent producer: its name, its epoch and the number of the append in it."""

    id: str
    epoch: int
    number: int

    @property
    def entry(self) -> str:
        """The name of its entry."""
        return f"producer:{self.id}"


@dataclass(frozen=True, slots=True)
class Append:
    """What an append says about itself. `order` is its Stream-Seq. With `close` it is the last one."""

    producer: Producer | None = None
    order: str | None = None
    close: bool = False

    @property
    def names(self) -> list[str]:
        """The entries that `judge` needs."""
        names = [] if self.producer is None else [self.producer.entry]
        return names if self.order is None else [*names, ORDER]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An append that is accepted, or a repeat of one that was.

    `number` is the number of the latest append of the producer, and `entries` are those to store.
    """

    repeat: bool
    number: int
    entries: Mapping[str, str]


def judge(append: Append, info: Info, entries: Mapping[str, str], *, empty: bool = False) -> Verdict:
    """Decide about an append to a stream with these entries. An `empty` one has no message.

    Raises ProducerFenced, SequenceGap, StreamFinal, Conflict, BadRequest.
    """
    producer = append.producer
    before = None if producer is None else _parse(entries.get(producer.entry))
    if producer is not None and before is not None:
        epoch, latest = before
        if producer.epoch < epoch:
            raise ProducerFenced(epoch)
        if producer.epoch == epoch and producer.number <= latest:
            return Verdict(True, latest, {})
    # A stream that is closed answers repeats, and nothing else.
    if info.state is State.COMPLETE and append.close and empty and producer is None:
        return Verdict(True, 0, {})
    if info.state.final:
        raise StreamFinal(f"The stream with ID {info.id} is {info.state} and takes no more bytes.")
    added: dict[str, str] = {}
    if producer is not None:
        _check_number(producer, before)
        added[producer.entry] = f"{producer.epoch} {producer.number}"
        if before is None and info.ledger >= MAX_LEDGER:
            raise Conflict(
                "This stream has had too many producers. Use a Producer-Id again, in a later epoch."
            )
    if append.order is not None:
        if (last := entries.get(ORDER)) is not None and append.order <= last:
            raise Conflict("Stream-Seq must be greater than that of the append before it.")
        added[ORDER] = append.order
    return Verdict(False, 0 if producer is None else producer.number, added)


def _parse(entry: str | None) -> tuple[int, int] | None:
    """Return the epoch and the latest number of a producer, None if it is new."""
    if entry is None:
        return None
    epoch, number = entry.split()
    return int(epoch), int(number)


def _check_number(producer: Producer, before: tuple[int, int] | None) -> None:
    """Raise unless this is the first append of a producer or of a new epoch, or the next one."""
    expected = 0
    if before is not None and producer.epoch > before[0]:
        if producer.number:
            raise BadRequest("A new Producer-Epoch begins with Producer-Seq: 0.")
    elif before is not None:
        expected = before[1] + 1
    if producer.number != expected:
        raise SequenceGap(expected, producer.number)
