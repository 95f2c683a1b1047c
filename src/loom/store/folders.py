"""Folders of ids, counted stream by stream: shared by all stores. Pure."""

from collections.abc import Mapping

from loom.model import COUNTED, FOLDERS, Folder, Info, folder_of, number_of


class Tallies:
    """The count and the newest stream of all under a prefix, and of each folder under it.

    `counted` has what was counted already, by the prefix and by the folders.
    """

    def __init__(self, prefix: str, counted: Mapping[str, tuple[int, Info | None]]) -> None:
        self._prefix = prefix
        self._counted = dict(counted)

    def add(self, info: Info) -> None:
        """Count one more stream."""
        for name in (self._prefix, folder_of(info.id, self._prefix)):
            if name is None:
                continue
            count, newest = self._counted.get(name, (0, None))
            if newest is None or number_of(newest.key) < number_of(info.key):
                newest = info
            self._counted[name] = (count + 1, newest)

    def result(self) -> tuple[int, list[Folder]]:
        """Return the number of streams, and the folders with the newest streams, as Store.folders does."""
        total, _ = self._counted.pop(self._prefix, (0, None))
        folders = [
            Folder(name, min(count, COUNTED), newest)
            for name, (count, newest) in self._counted.items()
            if newest is not None
        ]
        folders.sort(key=lambda folder: number_of(folder.newest.key), reverse=True)
        return min(total, COUNTED), folders[:FOLDERS]
