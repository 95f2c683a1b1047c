"""Who asks, and what they may do. Owns tokens and rights; knows no HTTP beyond one header and does no I/O.

A token is either one that the server was told (a grant) or one that it signed itself: a JWT (RFC 7519, HS256)
that says what its holder may do, never more than who asked for it, and until when. Nothing of signed tokens
is stored; they end with the grant they were signed for, and all of them with another signing key.
"""

import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from loom.errors import BadRequest, ConfigError, Conflict, Forbidden, Unauthorized
from loom.model import Clock

ASK = "Send a token: the header `Authorization: Bearer <token>`."
UNKNOWN = "This token is not known here."
ALGORITHM, ISSUER = "HS256", "loom"
MIN_KEY_CHARS = 32
"""RFC 7518 section 3.2: a key of the size of the hash at least."""


class Action(StrEnum):
    """What a token may allow, in the words of its scopes."""

    READ = "read"
    WRITE = "write"
    REPLACE = "replace"
    """Delete streams, and create over existing ones."""
    ADMIN = "admin"
    """Everything, and what concerns the server as a whole."""


ALL = frozenset(Action)


@dataclass(frozen=True, slots=True)
class Quota:
    """Streams one may write at once, and bytes a day; 0: no limit."""

    streams_live: int = 0
    bytes_per_day: int = 0


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Someone who was let in: may do `actions` to streams whose id begins with `prefix`, or to that of `id`.

    `expires` is in seconds since the Unix epoch; None: never. `owner` names the grant it is of, or was signed
    for, whose `quota` all these share.
    """

    name: str = ""
    actions: frozenset[Action] = ALL
    prefix: str = ""
    id: str | None = None
    expires: float | None = None
    owner: str = ""
    quota: Quota = NO_QUOTA

    def may(self, action: Action) -> bool:
        """True if this principal may do that to some stream."""
        return action in self.actions or Action.ADMIN in self.actions

    def covers(self, id: str) -> bool:
        """True if the stream `id` is this principal's business, whatever it may do."""
        return id == self.id if self.id is not None else id.startswith(self.prefix)

    def covers_all(self, prefix: str) -> bool:
        """True if every stream whose id begins so is."""
        return self.id is None and prefix.startswith(self.prefix)

    def allowed(self, action: Action, id: str | None) -> bool:
        """True if this principal may do that to the stream `id`; None means every stream."""
        return self.may(action) and (self.covers_all("") if id is None else self.covers(id))

    def within(self, prefix: str) -> str | None:
        """The prefix of those streams of `prefix` that are covered; None: there are none."""
        if self.id is not None:
            return self.id if self.id.startswith(prefix) else None
        longer = max(self.prefix, prefix, key=len)
        return longer if longer.startswith(self.prefix) and longer.startswith(prefix) else None


@dataclass(frozen=True, slots=True)
class Grant:
    """A token the server was told, by its SHA-256, and who holds it."""

    digest: bytes
    principal: Principal

    @classmethod
    def to(cls, digest: bytes, principal: Principal) -> "Grant":
        """A token of that SHA-256 for `principal`, who is its owner."""
        return cls(digest, replace(principal, owner=digest.hex()[:16]))

    @classmethod
    def of(cls, token: str) -> "Grant":
        """A token that opens everything."""
        return cls.to(digest_of(token), Principal())


class Auth:
    """The tokens that open this server; with none, everyone is let in."""

    def __init__(self, grants: Iterable[Grant] = (), key: str = "", clock: Clock = time.time) -> None:
        self._clock = clock
        self.load(grants, key)

    def load(self, grants: Iterable[Grant], key: str = "") -> None:
        """From now on these tokens are known, and those signed with `key`; without one none can be signed.

        May be called in any thread.
        """
        grants = list(grants)
        if any(grant.digest == digest_of("") for grant in grants):
            raise ConfigError("A token is empty; an empty token would let everyone in.")
        if key and len(key) < MIN_KEY_CHARS:
            raise ConfigError(f"The signing key is too short: {MIN_KEY_CHARS} characters at least.")
        self._known = {grant.principal.owner: grant for grant in grants}, key

    @property
    def required(self) -> bool:
        """True if a request needs a token."""
        return bool(self._known[0])

    def now(self) -> float:
        """The time that `expires` is compared with."""
        return self._clock()

    def principal(self, authorization: bytes | None) -> Principal:
        """Who sends this Authorization header (RFC 6750 section 2.1; the scheme in any case).

        Every token is compared, in a time that does not tell how much of one was right. Raises Unauthorized.
        """
        if not self.required:
            return Principal()
        scheme, _, credentials = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized(ASK)
        token = credentials.strip()
        given = hashlib.sha256(token).digest()
        known = [grant for grant in self._known[0].values() if hmac.compare_digest(given, grant.digest)]
        principal = known[0].principal if known else self._signed(token)
        if principal.expires is not None and principal.expires <= self._clock():
            raise Unauthorized("This token has expired.")
        return principal

    def sign(self, asker: Principal, wanted: Principal) -> tuple[str, float]:
        """A token for `wanted`, whose `expires` is set, and when it ends: not after the asker's own.

        Raises Forbidden where that is more than the asker may do itself, Conflict where none can be signed.
        """
        grants, key = self._known
        if not (grants and key):
            raise Conflict("This server lets everyone in: there is nothing a token could open.")
        covered = asker.covers(wanted.id) if wanted.id is not None else asker.covers_all(wanted.prefix)
        if not covered or not all(map(asker.may, wanted.actions)):
            raise Forbidden("A token cannot allow more than the one that asks for it.")
        if wanted.expires is None or not wanted.actions:
            raise BadRequest("A signed token allows something, and ends at some time.")
        expires = int(min(wanted.expires, asker.expires or wanted.expires))
        only = {"id": wanted.id} if wanted.id is not None else {"prefix": wanted.prefix}
        claims = {
            "iss": ISSUER,
            "sub": wanted.name or asker.name,
            "owner": asker.owner,
            "iat": int(self._clock()),
            "exp": expires,
            "scope": " ".join(sorted(wanted.actions)),
            **only,
        }
        import jwt  # takes longer to load than a start has time for

        return jwt.encode(claims, key, ALGORITHM), float(expires)

    def _signed(self, token: bytes) -> Principal:
        """Who holds a token that was signed here. Raises Unauthorized."""
        grants, key = self._known
        if not key or token.count(b".") != 2:
            raise Unauthorized(UNKNOWN)
        import jwt

        options: Any = {
            "require": ["exp", "iss", "sub", "scope", "owner"],
            "verify_exp": False,
            "verify_iat": False,
        }
        try:
            claims = jwt.decode(token, key, algorithms=[ALGORITHM], issuer=ISSUER, options=options)
            only = {name: str(claims[name]) for name in ("id", "prefix") if name in claims}
            actions = frozenset(map(Action, str(claims["scope"]).split()))
            owner = grants[claims["owner"]].principal
            return Principal(
                name=str(claims["sub"]),
                actions=actions,
                expires=float(claims["exp"]),
                owner=owner.owner,
                quota=owner.quota,
                **only,
            )
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError):
            raise Unauthorized(UNKNOWN) from None


def digest_of(token: str) -> bytes:
    """Digests have one length, so that comparing them tells nothing of the tokens' lengths."""
    return hashlib.sha256(token.encode()).digest()
