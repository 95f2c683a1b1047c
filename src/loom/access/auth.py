"""Tokens and what they allow. Does no I/O, and knows no HTTP but the Authorization header. Private.

A token is either configured (a grant) or signed by this server: a JWT (RFC 7519, HS256) with rights and an
expiry that never exceed those of the token it was signed for. Signed tokens are not stored. They end with the
grant they come from, and all of them end when the signing key changes.
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

MISSING = "Send a token: the header `Authorization: Bearer <token>`."
UNKNOWN = "This server does not know the token."
ALGORITHM, ISSUER = "HS256", "loom"
MIN_KEY_CHARS = 32
"""RFC 7518 section 3.2: a key at least as long as the hash."""


class Action(StrEnum):
    """What a token may allow; the values are its scopes."""

    READ = "read"
    WRITE = "write"
    REPLACE = "replace"
    """Delete streams, and replace existing ones."""
    ADMIN = "admin"
    """Everything."""


ALL = frozenset(Action)


@dataclass(frozen=True, slots=True)
class Quota:
    """Streams written at once, and bytes sent a day; 0: no limit."""

    streams_live: int = 0
    bytes_per_day: int = 0


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The holder of a token: may do `actions` to streams whose ids begin with `prefix`, or to one `id`.

    `expires` is in seconds since the Unix epoch; None: never. `owner` names the grant; tokens signed
    for a grant have its owner and share its `quota`.
    """

    name: str = ""
    actions: frozenset[Action] = ALL
    prefix: str = ""
    id: str | None = None
    expires: float | None = None
    owner: str = ""
    quota: Quota = NO_QUOTA

    def may(self, action: Action) -> bool:
        """Return True if this principal may do `action` to at least some streams."""
        return action in self.actions or Action.ADMIN in self.actions

    def covers(self, id: str) -> bool:
        """Return True if this principal's rights extend to the stream `id`."""
        return id == self.id if self.id is not None else id.startswith(self.prefix)

    def covers_all(self, prefix: str) -> bool:
        """Return True if they extend to every stream whose id begins with `prefix`."""
        return self.id is None and prefix.startswith(self.prefix)

    def allowed(self, action: Action, id: str | None) -> bool:
        """Return True if this principal may do `action` to the stream `id`; None means every stream."""
        return self.may(action) and (self.covers_all("") if id is None else self.covers(id))

    def within(self, prefix: str) -> str | None:
        """Return the prefix of the covered streams among those of `prefix`; None if there are none."""
        if self.id is not None:
            return self.id if self.id.startswith(prefix) else None
        longer = max(self.prefix, prefix, key=len)
        return longer if longer.startswith(self.prefix) and longer.startswith(prefix) else None


@dataclass(frozen=True, slots=True)
class Grant:
    """A configured token, by its SHA-256, and its holder."""

    digest: bytes
    principal: Principal

    @classmethod
    def to(cls, digest: bytes, principal: Principal) -> "Grant":
        """Return a grant of the token with this SHA-256 to `principal`, as its owner."""
        return cls(digest, replace(principal, owner=digest.hex()[:16]))

    @classmethod
    def of(cls, token: str) -> "Grant":
        """Return a grant of everything to the holder of `token`."""
        return cls.to(digest_of(token), Principal())


class Auth:
    """The tokens of this server. Without any, every request is allowed."""

    def __init__(self, grants: Iterable[Grant] = (), key: str = "", clock: Clock = time.time) -> None:
        self._clock = clock
        self._known: tuple[dict[str, Grant], str] = {}, ""
        self.stale = False
        """True if the last reload failed, so that earlier tokens are in force."""
        self.load(grants, key)

    def load(self, grants: Iterable[Grant], key: str = "") -> None:
        """Replace the known tokens; accept and sign further ones with `key`, if it is not empty.

        May be called in any thread. Raises ConfigError, also if tokens would be replaced by none: a mistake
        in a file must not allow every request.
        """
        grants = list(grants)
        if self.required and not grants:
            raise ConfigError(
                "There are no tokens in the settings. Restart the server to run it without authentication."
            )
        if any(grant.digest == digest_of("") for grant in grants):
            raise ConfigError(
                "A token is empty, and would allow every request; remove it or give it a value."
            )
        if key and len(key) < MIN_KEY_CHARS:
            raise ConfigError(f"The signing key is too short: use at least {MIN_KEY_CHARS} characters.")
        self._known = {grant.principal.owner: grant for grant in grants}, key

    @property
    def required(self) -> bool:
        """True if requests need a token."""
        return bool(self._known[0])

    def now(self) -> float:
        """Return the time that `expires` is compared with."""
        return self._clock()

    def principal(self, authorization: bytes | None) -> Principal:
        """Return the holder of the token in this Authorization header (RFC 6750 section 2.1).

        Compares with every token in constant time, so that timing reveals nothing. Raises Unauthorized.
        """
        if not self.required:
            return Principal()
        scheme, _, credentials = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized(MISSING)
        token = credentials.strip()
        given = hashlib.sha256(token).digest()
        known = [grant for grant in self._known[0].values() if hmac.compare_digest(given, grant.digest)]
        principal = known[0].principal if known else self._signed(token)
        if principal.expires is not None and principal.expires <= self._clock():
            raise Unauthorized("This token has expired.")
        return principal

    def sign(self, holder: Principal, wanted: Principal) -> tuple[str, float]:
        """Return a token for `wanted`, whose `expires` is set, and its expiry: at most that of `holder`.

        Raises Forbidden if `wanted` exceeds the rights of `holder`, Conflict if this server has no tokens.
        """
        grants, key = self._known
        if not (grants and key):
            raise Conflict("This server has no tokens and allows every request, so it signs none.")
        covered = holder.covers(wanted.id) if wanted.id is not None else holder.covers_all(wanted.prefix)
        if not covered or not all(map(holder.may, wanted.actions)):
            raise Forbidden("A signed token cannot allow more than the token that it is signed for.")
        if wanted.expires is None or not wanted.actions:
            raise BadRequest("A signed token needs a scope and an expiry.")
        expires = int(min(wanted.expires, holder.expires or wanted.expires))
        only = {"id": wanted.id} if wanted.id is not None else {"prefix": wanted.prefix}
        claims = {
            "iss": ISSUER,
            "sub": wanted.name or holder.name,
            "owner": holder.owner,
            "iat": int(self._clock()),
            "exp": expires,
            "scope": " ".join(sorted(wanted.actions)),
            **only,
        }
        import jwt  # slow to load, and most servers sign nothing

        return jwt.encode(claims, key, ALGORITHM), float(expires)

    def _signed(self, token: bytes) -> Principal:
        """Return the holder of a token signed by this server. Raises Unauthorized."""
        grants, key = self._known
        if not key or token.count(b".") != 2:
            raise Unauthorized(UNKNOWN)
        import jwt

        # `principal` checks the expiry, with the clock of this server.
        options: Any = {
            "require": ["exp", "iss", "sub", "scope", "owner"],
            "verify_exp": False,
            "verify_iat": False,
        }
        try:
            claims = jwt.decode(token, key, algorithms=[ALGORITHM], issuer=ISSUER, options=options)
            only = {name: str(claims[name]) for name in ("id", "prefix") if name in claims}
            # No id has half of a surrogate pair, and no look-up of streams can have one: UnicodeEncodeError.
            "".join(only.values()).encode()
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
    """Return the SHA-256 of a token; comparing digests of equal length does not reveal the token's length."""
    return hashlib.sha256(token.encode()).digest()
