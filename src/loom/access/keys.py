"""Turn the settings into the tokens that open a server. Owns the file of the signing key. Private."""

import os
import secrets
from collections.abc import Iterator

from loom.access.auth import Action, Auth, Grant, Principal, Quota
from loom.config import Settings
from loom.errors import ConfigError
from loom.model import Clock

KEY_FILE = "signing.key"
"""Its name in the data directory."""


def open_auth(settings: Settings, clock: Clock) -> Auth:
    """Return the tokens that open this server. Raises ConfigError."""
    return Auth(_grants(settings), _signing_key(settings), clock)


def reload_auth(auth: Auth, settings: Settings) -> None:
    """Replace the tokens and the signing key; requests that have begun continue. Raises ConfigError."""
    auth.load(_grants(settings), _signing_key(settings))


def _grants(settings: Settings) -> Iterator[Grant]:
    for entry in settings.tokens:
        principal = Principal(
            name=entry.name,
            actions=frozenset(map(Action, entry.scopes)),
            prefix=entry.prefix,
            quota=Quota(entry.max_streams_live, entry.max_bytes_per_day),
            expires=None if entry.expires is None else entry.expires.timestamp(),
        )
        yield Grant.to(entry.digest, principal)


def _signing_key(settings: Settings) -> str:
    """Return the key in the settings, else the one in the data directory, else one for this process."""
    if settings.signing_key or not settings.tokens:
        return settings.signing_key
    if settings.directory is None:
        return secrets.token_urlsafe(32)
    path = settings.directory / KEY_FILE
    try:
        return path.read_text("ascii").strip() if path.exists() else _make(path)
    except OSError as error:
        raise ConfigError(f"The signing key {path} cannot be used: {error.strerror}.") from None


def _make(path: os.PathLike[str]) -> str:
    """Create the file with a new key, readable by its owner only, and return the key."""
    key, draft = secrets.token_urlsafe(32), f"{os.fspath(path)}.new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(fd)
    # Renamed when complete, so that a crash leaves either no key or a whole one.
    os.replace(draft, path)
    return key
