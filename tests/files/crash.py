"""Power losses: a disk that remembers what was never flushed, and directories as a crash would leave them.

A `CrashDisk` takes snapshots while a store works on it, also while SQLite works on the catalog's files.
`Snapshot.restore` builds from one a directory in which sectors and names that were not flushed are there,
missing, torn or out of order by chance.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.files.sqlite_files import observed

from loom.store.files.disk import Disk

SECTOR = 512
Write = tuple[int, bytes] | int
"""Bytes at an offset, or a truncation to a size."""


@dataclass(eq=False)
class Node:
    """A file: what was flushed, what was written since, what is being written."""

    durable: bytes = b""
    pending: list[Write] = field(default_factory=list)
    begun: list[Write] = field(default_factory=list)


def apply(content: bytearray, write: Write) -> None:
    if isinstance(write, int):
        del content[write:]
        content.extend(bytes(write - len(content)))
        return
    offset, data = write
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def apply_sectors(content: bytearray, write: tuple[int, bytes], chance: random.Random, share: float) -> None:
    """Apply some sectors of a write. The file may have its new length without the new bytes, then zeros."""
    offset, data = write
    stop = offset + len(data)
    if chance.random() < 0.5 and len(content) < stop:
        content.extend(bytes(stop - len(content)))
    at = offset
    while at < stop:
        end = min(stop, (at // SECTOR + 1) * SECTOR)
        if chance.random() < share:
            apply(content, (at, data[at - offset : end - offset]))
        at = end


@dataclass
class Snapshot:
    """What a crash at this moment could leave, and what was promised just before it and just after it."""

    flushed_names: dict[str, Node]
    names: dict[str, Node]
    nodes: dict[Node, tuple[bytes, list[Write], list[Write]]]
    before: Any
    after: Any

    def restore(self, root: Path, chance: random.Random, *, mood: str | None = None) -> None:
        """Write one of the possible directories; with the mood "nothing", nothing unflushed is there."""
        mood = mood or chance.choice(["nothing", "everything", "chance", "chance", "chance"])
        share = {"nothing": 0.0, "everything": 1.0, "chance": chance.random()}[mood]
        for name in self.flushed_names.keys() | self.names.keys():
            names = self.names if chance.random() < share else self.flushed_names
            if name in names:
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._content(names[name], chance, share))

    def _content(self, node: Node, chance: random.Random, share: float) -> bytes:
        durable, pending, begun = self.nodes[node]
        content = bytearray(durable)
        for write in pending + begun:
            if not isinstance(write, int):
                apply_sectors(content, write, chance, share)
            elif chance.random() < share:
                apply(content, write)
        return bytes(content)


class CrashDisk(Disk):
    """Records every operation. `promises` is called for what is promised at a moment.

    Flushes of files whose names begin with `lies` do nothing.
    """

    def __init__(
        self, root: Path, *, chance: random.Random, share: float, promises: Callable[[], Any], lies: str = "-"
    ) -> None:
        super().__init__(root)
        self.snapshots: list[Snapshot] = []
        self._chance = chance
        self._share = share
        self._promises = promises
        self._lies = lies
        self._lock = threading.RLock()
        self._descriptors: dict[int, tuple[str, Node | None]] = {}
        self._names: dict[str, Node] = {}
        for path in root.rglob("*"):
            name = str(path.relative_to(root))
            if path.is_file() and not name.endswith("-shm"):
                self._names[name] = Node(path.read_bytes())
        self._flushed_names = dict(self._names)

    def observe(self) -> AbstractContextManager[None]:
        """Record what SQLite does in the block, too. The store starts and closes in it."""
        return observed(self.root, self)

    def _moment(self) -> None:
        """Take a snapshot, by chance: the power may be lost here."""
        if self._chance.random() < self._share:
            self.snapshots.append(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Return what a crash now could leave."""
        before = self._promises()
        with self._lock:
            nodes = {*self._names.values(), *self._flushed_names.values()}
            copies = {node: (node.durable, list(node.pending), list(node.begun)) for node in nodes}
            names = dict(self._flushed_names), dict(self._names)
        return Snapshot(*names, copies, before, self._promises())

    def open(self, name: str, flags: int) -> int:
        self._moment()
        with self._lock:
            fd = super().open(name, flags)
            node = None
            if not flags & os.O_DIRECTORY:
                node = self._names.setdefault(name, Node())
                if flags & os.O_TRUNC:
                    node.pending.append(0)
            self._descriptors[fd] = name, node
        return fd

    def close(self, fd: int) -> None:
        with self._lock:
            del self._descriptors[fd]
            super().close(fd)

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        _, node = self._descriptors[fd]
        assert node is not None
        with self._changing(node, (offset, b"".join(parts))):
            super().write(fd, parts, offset)

    @contextmanager
    def _changing(self, node: Node, write: Write) -> Iterator[None]:
        """Record a change that the block makes. A crash keeps some, all or none of it until it is flushed."""
        with self._lock:
            node.begun.append(write)
        self._moment()
        yield
        with self._lock:
            node.begun.remove(write)
            node.pending.append(write)
        self._moment()

    def truncate(self, fd: int, size: int) -> None:
        _, node = self._descriptors[fd]
        assert node is not None
        with self._changing(node, size):
            super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._moment()
        name, node = self._descriptors[fd]
        self._flush(name, node)
        self._moment()

    def _flush(self, name: str, node: Node | None) -> None:
        if f"{name}/".startswith(self._lies):
            return
        with self._lock:
            if node is None:
                self._flush_names(name)
            else:
                content = bytearray(node.durable)
                for write in node.pending:
                    apply(content, write)
                node.durable, node.pending = bytes(content), []

    def _flush_names(self, directory: str) -> None:
        for name in self._flushed_names.keys() | self._names.keys():
            if os.path.dirname(name) == directory:
                if name in self._names:
                    self._flushed_names[name] = self._names[name]
                else:
                    del self._flushed_names[name]

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            super().rename(old, new)
            self._names[new] = self._names.pop(old)
        self._moment()

    def remove(self, name: str) -> bool:
        with self._lock:
            self._names.pop(name, None)
            removed = super().remove(name)
        self._moment()
        return removed

    def on_sqlite_open(self, name: str) -> None:
        with self._lock:
            self._names.setdefault(name, Node())
        self._moment()

    def on_sqlite_write(self, name: str, offset: int, data: bytes, call: Callable[[], int]) -> int:
        with self._changing(self._names[name], (offset, data)):
            return call()

    def on_sqlite_truncate(self, name: str, size: int, call: Callable[[], int]) -> int:
        with self._changing(self._names[name], size):
            return call()

    def on_sqlite_sync(self, name: str, call: Callable[[], int]) -> int:
        self._moment()
        code = call()
        with self._lock:
            self._flush(name, self._names[name])
            # The first flush of a log or journal that SQLite made flushes its directory too.
            if name not in self._flushed_names and name != "catalog.sqlite" and self._lies != "catalog":
                self._flush_names("")
        self._moment()
        return code

    def on_sqlite_delete(self, name: str, call: Callable[[], int]) -> int:
        with self._lock:
            self._names.pop(name, None)
            code = call()
        self._moment()
        return code
