"""Power losses: a disk that remembers what was never flushed, and directories as a crash would leave them.

A `CrashDisk` takes snapshots while a store works on it. `Snapshot.restore` builds from one a directory in
which sectors, names and rows that were not flushed are there, missing, torn or out of order by chance.
"""

import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    catalog: dict[str, bytes]
    log_behind_catalog: bool
    before: Any
    after: Any

    def restore(self, root: Path, chance: random.Random) -> None:
        """Write one of the possible directories."""
        mood = chance.choice(["nothing", "everything", "chance", "chance", "chance"])
        share = {"nothing": 0.0, "everything": 1.0, "chance": chance.random()}[mood]
        for name in self.flushed_names.keys() | self.names.keys():
            names = self.names if chance.random() < share else self.flushed_names
            if name in names:
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._content(names[name], chance, share))
        for name, data in self.catalog.items():
            if name.endswith("-wal") and not self.log_behind_catalog:
                data = data[: int(chance.choice([0, 1, chance.random()]) * len(data))]
            (root / name).write_bytes(data)

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
        self.starting = True
        self._chance = chance
        self._share = share
        self._promises = promises
        self._lies = lies
        self._lock = threading.RLock()
        self._descriptors: dict[int, tuple[str, Node | None]] = {}
        self._catalog: dict[str, bytes] = {}
        self._names: dict[str, Node] = {}
        for path in root.rglob("*"):
            name = str(path.relative_to(root))
            if path.is_file() and not name.startswith("catalog"):
                self._names[name] = Node(path.read_bytes())
        self._flushed_names = dict(self._names)

    def started(self) -> None:
        """Note that the start is over: from now on only the images thread changes the catalog."""
        with self._lock:
            self._catalog = self._read_catalog()
            self.starting = False

    def _read_catalog(self) -> dict[str, bytes]:
        paths = [self.root / name for name in ("catalog.sqlite", "catalog.sqlite-wal")]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def _moment(self) -> None:
        """Take a snapshot, by chance: the power may be lost here."""
        if self._chance.random() >= self._share:
            return
        before = self._promises()
        with self._lock:
            catalog = self._read_catalog() if self.starting else self._catalog
            nodes = {*self._names.values(), *self._flushed_names.values()}
            copies = {node: (node.durable, list(node.pending), list(node.begun)) for node in nodes}
            names = dict(self._flushed_names), dict(self._names)
        self.snapshots.append(Snapshot(*names, copies, catalog, self.starting, before, self._promises()))

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
        write = (offset, b"".join(parts))
        with self._lock:
            node.begun.append(write)
        self._moment()
        super().write(fd, parts, offset)
        with self._lock:
            node.begun.remove(write)
            node.pending.append(write)
        self._moment()

    def truncate(self, fd: int, size: int) -> None:
        _, node = self._descriptors[fd]
        assert node is not None
        super().truncate(fd, size)
        with self._lock:
            node.pending.append(size)
        self._moment()

    def sync(self, fd: int) -> None:
        self._moment()
        name, node = self._descriptors[fd]
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
        self._moment()

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

    def free(self) -> tuple[int, int | None]:
        """Copy the catalog. Called at the end of each round of images, which alone changes it."""
        with self._lock:
            self._catalog = self._read_catalog()
        self._moment()
        return super().free()
