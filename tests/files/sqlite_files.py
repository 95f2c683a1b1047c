"""What SQLite does to its files, as a `CrashDisk` sees it: a VFS that passes every call on and reports it.

SQLite is used as it is. The VFS is a copy of the default one with its `xOpen` and `xDelete` replaced, and
opened files get a copy of their methods with the calls replaced that change or flush a file.
"""

import _sqlite3
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Protocol


class Observer(Protocol):
    """Is called for each operation of SQLite on the files of one directory; a `call` carries it out."""

    def on_sqlite_open(self, name: str) -> None: ...
    def on_sqlite_write(self, name: str, offset: int, data: bytes, call: Any) -> int: ...
    def on_sqlite_truncate(self, name: str, size: int, call: Any) -> int: ...
    def on_sqlite_sync(self, name: str, call: Any) -> int: ...
    def on_sqlite_delete(self, name: str, call: Any) -> int: ...


# Paths are pointers here: SQLite reads the parameters of the URI after the end of the name.
OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
CLOSE = CFUNCTYPE(c_int, c_void_p)
WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = [
        ("version", c_int), ("file_size", c_int), ("path_size", c_int), ("next", c_void_p),
        ("name", c_char_p), ("data", c_void_p), ("open", OPEN), ("delete", DELETE), ("others", c_void_p * 14),
    ]  # fmt: skip


class Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = [
        ("version", c_int), ("close", CLOSE), ("read", c_void_p), ("write", WRITE),
        ("truncate", TRUNCATE), ("sync", SYNC), ("others", c_void_p * 13),
    ]  # fmt: skip


def copy(structure: Any) -> Any:
    return type(structure).from_buffer_copy(structure)


@contextmanager
def observed(root: os.PathLike[str], observer: Observer) -> Iterator[None]:
    """Report to `observer` what connections that are opened in the block do to files of `root`.

    They have to be closed in the block.
    """
    library = ctypes.CDLL(_sqlite3.__file__)  # resolves the names of the SQLite that Python uses
    library.sqlite3_vfs_find.restype = POINTER(Vfs)
    usual = library.sqlite3_vfs_find(None).contents
    directory = os.path.realpath(root)
    files: dict[int, str] = {}
    # One table of methods for each that SQLite uses, kept alive with its functions.
    tables: dict[int, tuple[Methods, Methods]] = {}

    def name_of(path: int | None) -> str | None:
        found, name = os.path.split(os.fsdecode(ctypes.string_at(path)) if path else "")
        return name if found == directory else None

    def open_file(vfs: int, path: int | None, file: int, flags: int, out: int) -> int:
        code = int(usual.open(vfs, path, file, flags, out))
        if code == 0 and (name := name_of(path)) is not None:
            observer.on_sqlite_open(name)
            files[file] = name
            held = ctypes.cast(file, POINTER(c_void_p))
            address = int(held[0] or 0)
            if address not in tables:
                tables[address] = methods_for(Methods.from_address(address))
            held[0] = ctypes.addressof(tables[address][0])
        return code

    def delete(vfs: int, path: int, flush: int) -> int:
        name = name_of(path)
        if name is None:
            return int(usual.delete(vfs, path, flush))
        return observer.on_sqlite_delete(name, lambda: usual.delete(vfs, path, flush))

    def methods_for(original: Methods) -> tuple[Methods, Methods]:
        def close(file: int) -> int:
            del files[file]
            return int(original.close(file))

        def write(file: int, data: int, size: int, offset: int) -> int:
            return observer.on_sqlite_write(
                files[file],
                offset,
                ctypes.string_at(data, size),
                lambda: original.write(file, data, size, offset),
            )

        def truncate(file: int, size: int) -> int:
            return observer.on_sqlite_truncate(files[file], size, lambda: original.truncate(file, size))

        def sync(file: int, flags: int) -> int:
            return observer.on_sqlite_sync(files[file], lambda: original.sync(file, flags))

        ours = copy(original)
        ours.close, ours.write, ours.truncate, ours.sync = (
            CLOSE(close),
            WRITE(write),
            TRUNCATE(truncate),
            SYNC(sync),
        )
        return ours, original

    vfs = copy(usual)
    vfs.name, vfs.open, vfs.delete = b"observed", OPEN(open_file), DELETE(delete)
    assert library.sqlite3_vfs_register(ctypes.byref(vfs), 1) == 0
    try:
        yield
        assert not files, f"still open: {files}"
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(vfs))
        library.sqlite3_vfs_register(ctypes.byref(usual), 1)
