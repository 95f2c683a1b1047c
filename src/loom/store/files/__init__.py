"""The files store: a commit log, and images of it."""

from loom.store.files.store import FilesStore

__all__ = ["FilesStore"]
