"""Wheels of Loom and of the packages that it needs, made again from the installed files. Knows no HTTP.

Loom itself may be installed or run from a checkout.

The same files give the same bytes: a wheel has its files in order and without times.
"""

import hashlib
import io
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import loom

PROJECT = "loom-streams"
PURE = "Wheel-Version: 1.0\nGenerator: loom\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
"""The file WHEEL of Loom itself; that of a checkout would describe a link to the checkout."""
LOCAL = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL"})
"""Files of a `.dist-info` that describe the installation, or are written anew."""
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Wheel:
    """The bytes of a wheel, and their SHA-256 in hex."""

    body: bytes
    digest: str


class Package:
    """An installed distribution, as the wheel that it came from. Making one, and its wheel, reads files."""

    def __init__(self, found: Distribution) -> None:
        self._found = found
        self.name = normalized(found.metadata["Name"])
        self.requires_python = found.metadata["Requires-Python"] or ""
        self._tags = PURE if self.name == PROJECT else found.read_text("WHEEL") or ""
        self.complete = bool(self._tags) and found.files is not None
        """True if the installation says which files it has."""
        self.filename = self._filename()

    def _filename(self) -> str:
        # Several tags are written as one, in which each part has all its values.
        tags = [
            line.removeprefix("Tag: ").split("-") for line in self._tags.splitlines() if line[:5] == "Tag: "
        ]
        parts = [".".join(sorted(set(values))) for values in zip(*tags, strict=True)]
        return "-".join([self.name.replace("-", "_"), self._found.version, *parts]) + ".whl"

    @cached_property
    def wheel(self) -> Wheel:
        """The wheel, made at first use and kept."""
        target = io.BytesIO()
        record = []
        with ZipFile(target, "w", ZIP_DEFLATED) as packed:
            info = next(name for name, _ in self._described()).partition("/")[0]
            files = {**dict(self._described()), f"{info}/WHEEL": self._tags.encode(), **dict(self._code())}
            for name in sorted(files, key=lambda name: (name.startswith(info), name)):
                _add(packed, name, files[name])
                digest = urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
                record.append(f"{name},sha256={digest},{len(files[name])}\n")
            _add(packed, f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]).encode())
        body = target.getvalue()
        return Wheel(body, hashlib.sha256(body).hexdigest())

    def _described(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files of the `.dist-info`, by name."""
        for path in self._found.files or []:
            if path.parts[0].endswith(".dist-info") and path.name not in LOCAL:
                yield path.as_posix(), Path(str(path.locate())).read_bytes()

    def _code(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files that are imported. Programs are not among them: pip makes them anew."""
        if self.name == PROJECT:
            root = Path(loom.__file__).parent
            paths = ((f"loom/{path.relative_to(root).as_posix()}", path) for path in root.rglob("*"))
        else:
            own = (path for path in self._found.files or [] if not path.parts[0].endswith(".dist-info"))
            paths = ((path.as_posix(), Path(str(path.locate()))) for path in own)
        for name, path in paths:
            if "__pycache__" not in name and not name.startswith("..") and path.is_file():
                yield name, path.read_bytes()


def packages() -> dict[str, Package]:
    """Return Loom and the installed packages that it needs, by name. Empty if Loom is not installed."""
    found: dict[str, Package] = {}
    wanted = [PROJECT]
    for name in wanted:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # not needed on this system or by this Python
        if normalized(name) not in found:
            found[normalized(name)] = Package(package)
            needs = [text for text in package.requires or [] if not re.search(r"\bextra\s*==", text)]
            wanted += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needs]
    return {name: package for name, package in sorted(found.items()) if package.complete}


def normalized(name: str) -> str:
    """Return the name of a project as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _add(packed: ZipFile, name: str, data: bytes) -> None:
    entry = ZipInfo(name, EPOCH)
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    packed.writestr(entry, data)
