"""Who asks, and what they may do. Owns tokens and rights; knows no HTTP beyond one header and does no I/O."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from loom.errors import ConfigError, Unauthorized

ASK = "Send a token: the header `Authorization: Bearer <token>`."


class Action(StrEnum):
    """What can be asked of a stream, or of all of them."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    SPY = "spy"


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone who was let in. Rights are all or nothing: who holds a token may do everything."""

    def allowed(self, action: Action, id: str | None) -> bool:
        """True if this principal may do that to the stream `id`; None means every stream."""
        return True


class Auth:
    """The tokens that open this server; with none, everyone is let in."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._digests = [_digest(token.encode()) for token in tokens]
        if _digest(b"") in self._digests:
            raise ConfigError("A token is empty; an empty token would let everyone in.")

    @property
    def required(self) -> bool:
        """True if a request needs a token."""
        return bool(self._digests)

    def principal(self, authorization: bytes | None) -> Principal:
        """Who sends this Authorization header (RFC 6750 section 2.1; the scheme in any case).

        Every token is compared, in a time that does not tell how much of one was right. Raises Unauthorized.
        """
        if not self.required:
            return Principal()
        scheme, _, credentials = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized(ASK)
        given = _digest(credentials.strip())
        if not sum(hmac.compare_digest(given, digest) for digest in self._digests):
            raise Unauthorized("This token is not known here.")
        return Principal()


def _digest(token: bytes) -> bytes:
    """Digests have one length, so that comparing them tells nothing of the tokens' lengths."""
    return hashlib.sha256(token).digest()
