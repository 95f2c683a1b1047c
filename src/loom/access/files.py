"""Small files that are replaced as a whole. Private."""

import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Store `text`, readable by its owner only, atomically and durably. Blocks. Raises OSError."""
    draft = f"{path}.new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(fd)
    # Renamed when complete, so that a crash leaves either the old file or the new one.
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
