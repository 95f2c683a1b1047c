"""The signed tokens that were revoked, kept in a file of the data directory. Private."""

import asyncio
import json
from pathlib import Path

from loom.access.files import replace_file
from loom.errors import ConfigError, StorageFull
from loom.model import Clock

FILE = "revoked.json"
"""Its name in the data directory: a JSON object of ids and when the token expires."""


class FileRevocations:
    """Revocations in `path`; with None, until the process ends. Forgets a token once it has expired."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._expires: dict[str, float] = {} if path is None else _load(path)
        self._lock = asyncio.Lock()

    def __contains__(self, id: str) -> bool:
        """Return True if the token was revoked."""
        return id in self._expires

    async def add(self, id: str, expires: float) -> None:
        """Revoke a token that expires then; durable on return. Raises StorageFull."""
        async with self._lock:
            now = self._clock()
            self._expires = {each: end for each, end in (self._expires | {id: expires}).items() if end > now}
            if self._path is not None:
                text = json.dumps(self._expires)
                try:
                    await asyncio.to_thread(replace_file, self._path, text)
                except OSError as error:
                    # In force all the same, but a restart would forget it: the caller must know.
                    raise StorageFull(
                        f"The token is revoked until the server restarts only: {error.strerror}. Retry."
                    ) from None


def _load(path: Path) -> dict[str, float]:
    try:
        stored = json.loads(path.read_bytes())
        return {str(id): float(expires) for id, expires in stored.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"The revoked tokens in {path} cannot be read: {error.strerror}.") from None
    except (ValueError, AttributeError, TypeError):
        # Continuing without them would make revoked tokens valid again.
        raise ConfigError(f"The file {path} is damaged: restore it, or change the signing key.") from None
