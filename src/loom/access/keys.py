"""Turn the settings into the tokens that a server accepts. Owns the file of the signing keys. Private."""

import secrets
from collections.abc import Iterator

from loom.access.auth import Action, Auth, Grant, Principal, Quota
from loom.access.files import replace_file
from loom.access.ids import Ids
from loom.access.revocations import FILE as REVOKED_FILE
from loom.access.revocations import FileRevocations
from loom.config import Settings
from loom.errors import ConfigError
from loom.model import Clock

KEY_FILE = "signing.key"
"""Its name in the data directory."""
PROCESS_KEY = secrets.token_urlsafe(32)
"""Signs where there is no data directory; a reload keeps it."""


def open_auth(settings: Settings, clock: Clock) -> Auth:
    """Return the tokens that this server accepts. Raises ConfigError."""
    path = settings.directory and settings.directory / REVOKED_FILE
    return Auth(_grants(settings), _signing_keys(settings), clock, FileRevocations(path, clock))


def reload_auth(auth: Auth, settings: Settings) -> None:
    """Replace the tokens and the signing keys. Raises ConfigError."""
    auth.load(_grants(settings), _signing_keys(settings))


def _grants(settings: Settings) -> Iterator[Grant]:
    for entry in settings.tokens:
        principal = Principal(
            name=entry.name,
            actions=frozenset(map(Action, entry.scopes)),
            ids=Ids.of_prefix(entry.prefix),
            quota=Quota(
                streams_live=entry.max_streams_live,
                bytes_per_day=entry.max_bytes_per_day,
                streams=entry.max_streams,
                creations_per_minute=entry.max_creations_per_minute,
            ),
            expires=None if entry.expires is None else entry.expires.timestamp(),
        )
        yield Grant.to(entry.digest, principal)


def _signing_keys(settings: Settings) -> list[str]:
    """Return the keys in the settings, else those in the data directory, else one for this process.

    The last one signs.
    """
    if settings.signing_key or not settings.tokens:
        return settings.signing_key
    if settings.directory is None:
        return [PROCESS_KEY]
    path = settings.directory / KEY_FILE
    try:
        if not path.exists():
            replace_file(path, secrets.token_urlsafe(32))
        keys = path.read_text("ascii").split()
    except OSError as error:
        raise ConfigError(f"The signing key {path} cannot be used: {error.strerror}.") from None
    except ValueError:
        keys = []
    if not keys:
        raise ConfigError(
            f"The file {path} has no key: write one a line, or remove the file to get a new key."
        )
    return keys
