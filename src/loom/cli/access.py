"""Who may use a server, as its settings say. Owns the signing key's file, and how settings become grants."""

import os
import secrets
from collections.abc import Iterable, Iterator

from loom.access.auth import Action, Auth, Grant, Principal, Quota
from loom.config import Settings
from loom.errors import ConfigError
from loom.model import Clock

KEY_FILE = "signing.key"


def open_auth(settings: Settings, clock: Clock) -> Auth:
    """The tokens that open this server. Raises ConfigError."""
    return Auth(_grants(settings), _signing_key(settings), clock)


def reload_auth(auth: Auth, settings: Settings) -> None:
    """From now on these settings hold; what has begun goes on. Raises ConfigError."""
    auth.load(_grants(settings), _signing_key(settings))


def secrets_of(settings: Settings) -> Iterable[str]:
    """What no log line may show."""
    tokens = [entry.token for entry in settings.tokens if entry.token]
    return [*tokens, settings.signing_key, *(hook.secret for hook in settings.webhooks)]


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
    """The key that was told, or one that lies beside the data; of a memory store one for its life."""
    if settings.signing_key or not settings.tokens:
        return settings.signing_key
    if settings.store == "memory":
        return secrets.token_urlsafe(32)
    path = settings.data / KEY_FILE
    try:
        return _read(path) if path.exists() else _make(path)
    except OSError as error:
        raise ConfigError(f"The signing key {path} cannot be used: {error.strerror}.") from None


def _read(path: os.PathLike[str]) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _make(path: os.PathLike[str]) -> str:
    """A new key in a file for its owner alone, there as a whole or not at all."""
    key, draft = secrets.token_urlsafe(32), f"{os.fspath(path)}.new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(fd)
    os.replace(draft, path)
    return key
