"""Folders of ids, counted stream by stream: shared by all stores. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from loom.ids import folder_of, number_of
from loom.model import COUNTED, FAILURES, FOLDERS, Folder, Info, Outcome


class Count(NamedTuple):
    """What is known of the streams under a prefix. `failures` counts only if there are few of them."""

    total: int = 0
    newest: Info | None = None
    failures: int = 0


class Tallies:
    """The count of all streams under a prefix, and of each folder under it.

    `counted` has what was counted already, by the prefix and by the folders.
    """

    def __init__(self, prefix: str, counted: Mapping[str, Count]) -> None:
        self._prefix = prefix
        self._counted = dict(counted)

    def add(self, info: Info) -> None:
        """Count one more stream."""
        failed = info.outcome is Outcome.FAILURE
        for name in (self._prefix, folder_of(info.id, self._prefix)):
            if name is not None:
                total, newest, failures = self._counted.get(name, Count())
                if newest is None or number_of(newest.key) < number_of(info.key):
                    newest = info
                self._counted[name] = Count(total + 1, newest, failures + failed)

    def result(self) -> tuple[int, list[Folder]]:
        """Return the number of streams, and the folders with the newest streams, as Store.folders does."""
        total = self._counted.pop(self._prefix, Count()).total
        folders = []
        for name, each in self._counted.items():
            if each.newest is not None:
                failures = each.failures if each.total <= FAILURES else None
                folders.append(Folder(name, min(each.total, COUNTED), each.newest, failures))
        folders.sort(key=lambda folder: number_of(folder.newest.key), reverse=True)
        return min(total, COUNTED), folders[:FOLDERS]
