"""Tokens and what they allow. Does no I/O, and knows no HTTP but the Authorization header. Private.

A token is either configured (a grant) or signed by this server: a JWT (RFC 7519, HS256) whose rights and
expiry never exceed those that its grant has at the time of a request. Signed tokens are not stored. They end
with their grant, when they are revoked, and when their key is removed.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from loom.access.ids import ALL_IDS, Ids
from loom.errors import BadRequest, ConfigError, Conflict, Forbidden, Unauthorized
from loom.model import Clock

MISSING = "Send a token: the header `Authorization: Bearer <token>`."
UNKNOWN = "This server does not know the token."
ALGORITHM, ISSUER = "HS256", "loom"
MIN_KEY_CHARS = 32
"""RFC 7518 section 3.2: a key at least as long as the hash."""
MAX_CHAIN = 4
"""How many tokens may be signed, each with the one before. Each makes the next token longer."""
TOKEN_ID = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{1,12})\.[0-9a-f]{16}")
"""The id of a signed token: its owner, when it expires, and a random number."""


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
    """Streams written or left open at once, bytes sent a day, streams kept, and creations a minute; 0: no
    limit.
    """

    streams_live: int = 0
    bytes_per_day: int = 0
    streams: int = 0
    creations_per_minute: int = 0


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The holder of a token: may do `actions` to the streams `ids`.

    `expires` is in seconds since the Unix epoch; None: never. `owner` identifies the grant and `owner_name`
    is its name. A token signed for a grant has its owner and shares its `quota`; `signed` is the id of that
    token, after those of the tokens that it was signed with.
    """

    name: str = ""
    actions: frozenset[Action] = ALL
    ids: Ids = ALL_IDS
    expires: float | None = None
    owner: str = ""
    owner_name: str = ""
    quota: Quota = NO_QUOTA
    signed: tuple[str, ...] = ()

    def may(self, action: Action) -> bool:
        """Return True if this principal may do `action` to at least some streams."""
        return action in self.actions or Action.ADMIN in self.actions

    def allowed(self, action: Action, id: str | None) -> bool:
        """Return True if this principal may do `action` to the stream `id`; None means every stream."""
        return self.may(action) and (self.ids.contains_all("") if id is None else id in self.ids)

    def within(self, owner: "Principal") -> "Principal":
        """Return this principal with no more than the rights that its owner has now."""
        actions = frozenset(each for each in Action if self.may(each) and owner.may(each))
        ends = [each.expires for each in (self, owner) if each.expires is not None]
        return replace(self, actions=actions, ids=self.ids & owner.ids, expires=min(ends, default=None))


@dataclass(frozen=True, slots=True)
class Grant:
    """A configured token, by its SHA-256, and its holder."""

    digest: bytes
    principal: Principal

    @classmethod
    def to(cls, digest: bytes, principal: Principal) -> "Grant":
        """Return a grant of the token with this SHA-256 to `principal`, as its owner."""
        owner = digest.hex()[:16]
        return cls(digest, replace(principal, owner=owner, owner_name=principal.name or owner))

    @classmethod
    def of(cls, token: str) -> "Grant":
        """Return a grant of everything to the holder of `token`."""
        return cls.to(digest_of(token), Principal())


class Revocations(Protocol):
    """The signed tokens that were revoked, by their ids."""

    def __contains__(self, id: str) -> bool:
        """Return True if the token was revoked. Does not block."""

    async def add(self, id: str, expires: float) -> None:
        """Revoke a token that expires then; durable on return. Raises LoomError."""


class Auth:
    """The tokens of this server. Without any, every request is allowed."""

    def __init__(
        self,
        grants: Iterable[Grant] = (),
        keys: Sequence[str] = (),
        clock: Clock = time.time,
        revoked: Revocations | None = None,
    ) -> None:
        self._clock = clock
        self._known: tuple[dict[str, Grant], Sequence[str]] = {}, ()
        self._revoked = revoked
        self.changes = 0
        """How often tokens were loaded or revoked."""
        self.stale = False
        """True if the last reload failed, so that earlier tokens are in force."""
        self.load(grants, keys)

    def load(self, grants: Iterable[Grant], keys: Sequence[str] = ()) -> None:
        """Replace the known tokens; accept further ones signed with any of `keys`, sign with the last.

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
        if any(len(key) < MIN_KEY_CHARS for key in keys):
            raise ConfigError(f"The signing key is too short: use at least {MIN_KEY_CHARS} characters.")
        self._known = {grant.principal.owner: grant for grant in grants}, keys
        self.changes += 1

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

    def sign(self, holder: Principal, wanted: Principal) -> tuple[str, Principal]:
        """Return a token for `wanted`, whose `expires` is set, and its holder, who expires with `holder`.

        Raises Forbidden if `wanted` exceeds the rights of `holder`, Conflict if this server has no tokens.
        """
        grants, keys = self._known
        if not (grants and keys):
            raise Conflict("This server has no tokens and allows every request, so it signs none.")
        if wanted.ids & holder.ids != wanted.ids or not all(map(holder.may, wanted.actions)):
            raise Forbidden("A signed token cannot allow more than the token that it is signed for.")
        if len(holder.signed) >= MAX_CHAIN:
            raise Forbidden(f"A token that was signed with {MAX_CHAIN} others in a row signs no more.")
        if wanted.expires is None or not wanted.actions:
            raise BadRequest("A signed token needs a scope and an expiry.")
        expires = int(min(wanted.expires, holder.expires or wanted.expires))
        id = f"{holder.owner}.{expires:x}.{secrets.token_hex(8)}"
        holder = replace(
            wanted,
            name=wanted.name or holder.name,
            expires=float(expires),
            owner=holder.owner,
            owner_name=holder.owner_name,
            quota=holder.quota,
            signed=(*holder.signed, id),
        )
        prefix = wanted.ids.prefix
        claims = {
            "iss": ISSUER,
            "jti": id,
            "sub": holder.name,
            "owner": holder.owner,
            "with": holder.signed[:-1],
            "iat": int(self._clock()),
            "exp": expires,
            "scope": " ".join(sorted(wanted.actions)),
            **({"id": wanted.ids.exact} if prefix is None else {"prefix": prefix}),
        }
        import jwt  # slow to load, and most servers sign nothing

        return jwt.encode(claims, keys[-1], ALGORITHM), holder

    async def revoke(self, holder: Principal, id: str) -> None:
        """Revoke a signed token, and those signed with it; durable on return.

        Raises Forbidden unless `holder` is that token, its owner, or may do everything. Raises BadRequest,
        and Conflict if this server has no tokens.
        """
        if not self.required:
            raise Conflict("This server has no tokens and allows every request, so it revokes none.")
        found = TOKEN_ID.fullmatch(id)
        if found is None or self._revoked is None:
            raise BadRequest("This is not the id of a signed token.")
        own = holder.owner == found[1] if not holder.signed else holder.signed[-1] == id
        if not (own or holder.allowed(Action.ADMIN, None)):
            raise Forbidden("A token can be revoked by itself, by its owner, and by an admin of all streams.")
        await self._revoked.add(id, float(int(found[2], 16)))
        self.changes += 1

    def _signed(self, token: bytes) -> Principal:
        """Return the holder of a token signed by this server. Raises Unauthorized."""
        grants, keys = self._known
        if not keys or token.count(b".") != 2:
            raise Unauthorized(UNKNOWN, wrong=True)
        try:
            claims = _verified(token, keys)
            id, prefix = claims.get("id"), claims.get("prefix")
            # No id has half of a surrogate pair, and no look-up of streams can have one: UnicodeEncodeError.
            f"{id}{prefix}".encode()
            owner = grants[claims["owner"]].principal
            signed = Principal(
                name=str(claims["sub"]),
                actions=frozenset(map(Action, str(claims["scope"]).split())),
                ids=Ids.of_prefix(str(prefix or "")) if id is None else Ids(str(id)),
                expires=float(claims["exp"]),
                owner=owner.owner,
                owner_name=owner.owner_name,
                quota=owner.quota,
                signed=(*map(str, claims["with"]), str(claims["jti"])),
            )
        except (ValueError, KeyError, TypeError):
            raise Unauthorized(UNKNOWN, wrong=True) from None
        if self._revoked is not None and any(each in self._revoked for each in signed.signed):
            raise Unauthorized("This token was revoked.")
        principal = signed.within(owner)
        if not (principal.actions and principal.ids):
            raise Unauthorized("The owner of this token has lost the rights that it gave.")
        return principal


def _verified(token: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """Return the claims of a token signed with one of `keys`. Raises ValueError."""
    import jwt

    # `principal` checks the expiry, with the clock of this server.
    required = ["exp", "iss", "jti", "sub", "scope", "owner", "with"]
    options: Any = {"require": required, "verify_exp": False, "verify_iat": False}
    for key in reversed(keys):
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[ALGORITHM], issuer=ISSUER, options=options
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidTokenError:
            break
        return claims
    raise ValueError


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token; comparing digests of equal length does not reveal the token's length."""
    return hashlib.sha256(token.encode()).digest()
