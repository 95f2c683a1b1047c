"""The entries of lists in the settings, each with the rules of its values: tokens, webhooks, redact."""

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from loom.patterns import check_pattern
from loom.units import parse_duration, parse_size

BASE64_MARK = "whsec_"
"""Precedes a secret in Base64, as in Standard Webhooks."""

TOKEN = re.compile(r"[!-~]+")
"""What a header can carry; RFC 6750 section 2.1 allows a little less."""

MIN_TOKEN_CHARS = 16
"""The least characters of a token. Of one given by its SHA-256 the length is unknown."""


def _text_with(parse: Callable[[str], float]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


DURATION, SIZE = _text_with(parse_duration), _text_with(parse_size)
"""Mark settings in seconds and in bytes, which may be written with a unit."""


Bytes = Annotated[int, SIZE]
Seconds = Annotated[float, DURATION, Field(ge=0, le=366 * 86400, allow_inf_nan=False)]


def _check_token(token: str) -> str:
    if not TOKEN.fullmatch(token):
        raise ValueError("has a token that is empty or has spaces or characters outside ASCII")
    if len(token) < MIN_TOKEN_CHARS:
        # A signed token shows the start of its owner's SHA-256, with which short ones can be guessed.
        raise ValueError(
            f"has a token of fewer than {MIN_TOKEN_CHARS} characters, which can be guessed; use a longer one"
        )
    return token


class Model(BaseModel):
    """A model whose fields are described by the text after each."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TokenEntry(Model):
    """A token and what it allows. In the list `tokens` a plain string is a token that allows everything."""

    name: str = Field("", max_length=100)
    """The holder, as the log names it."""
    token: Annotated[str, AfterValidator(_check_token)] | None = Field(None, repr=False)
    """The token itself, at least 16 characters."""
    sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$")
    """Its SHA-256 in hex, instead of the token."""
    scopes: frozenset[Literal["read", "write", "replace", "admin"]] = Field(
        frozenset({"read", "write"}), min_length=1
    )
    """read; write: create and append; replace: overwrite and delete; admin: everything."""
    prefix: str = ""
    """Which ids the token covers: `build` means build and build/..., `build-*` all that begin with build-."""
    expires: AwareDatetime | None = None
    """When it expires, as 2026-12-31T12:00:00Z."""
    max_streams: int = Field(0, ge=0)
    """Streams it may keep: those it created that are not deleted; 0: no limit."""
    max_streams_live: int = Field(0, ge=0)
    """Streams it may write or leave open at once; 0: no limit."""
    max_creations_per_minute: int = Field(0, ge=0)
    """Streams it may create a minute; 0: no limit."""
    max_bytes_per_day: Bytes = Field(0, ge=0)
    """Bytes it may send a day, such as 10GiB, with metadata and 1 KiB for each stream; 0: no limit."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return {"token": value, "scopes": ["admin"]} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token is None) == (self.sha256 is None):
            raise ValueError("has an entry without exactly one of token and sha256")
        return self

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the token."""
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256)
        return hashlib.sha256((self.token or "").encode()).digest()


class Webhook(Model):
    """A URL that is notified of the end of streams."""

    url: str = Field(pattern="^https?://[^/]", repr=False)
    """Where to POST."""
    prefix: str = ""
    """How the ids begin of the streams whose ends are sent, as text: `build` means builds/1 too."""
    secret: str = Field("", repr=False)
    """Signs what is sent: whsec_ and Base64, or any text."""

    @field_validator("secret")
    @classmethod
    def _base64(cls, value: str) -> str:
        if value.startswith(BASE64_MARK):
            try:
                base64.b64decode(value.removeprefix(BASE64_MARK), validate=True)
            except ValueError:
                raise ValueError("has a secret that is not Base64 after whsec_") from None
        return value

    @property
    def key(self) -> bytes:
        """The bytes of the secret."""
        if self.secret.startswith(BASE64_MARK):
            return base64.b64decode(self.secret.removeprefix(BASE64_MARK))
        return self.secret.encode()


MIN_LITERAL_CHARS = 4
"""The least characters of a text to redact: shorter ones occur in any output."""
MAX_LITERAL_CHARS = 4096


class Redact(Model):
    """What to redact in the streams of a prefix."""

    prefix: str = ""
    """Prefix of the ids of these streams, as for tokens; default all."""
    literals: list[str] = Field([], repr=False)
    """Texts of 4 to 4096 characters; of several lines, each line. Found quoted for a shell, too."""
    patterns: list[str] = Field([], repr=False)
    """RE2 expressions that match within a line."""

    @field_validator("literals")
    @classmethod
    def _sized(cls, texts: list[str]) -> list[str]:
        for number, text in enumerate(texts, 1):
            if not len(text.strip()) >= MIN_LITERAL_CHARS or len(text) > MAX_LITERAL_CHARS:
                raise ValueError(
                    f"has as number {number} a text of fewer than {MIN_LITERAL_CHARS} or more "
                    f"than {MAX_LITERAL_CHARS} characters"
                )
        return texts

    @field_validator("patterns")
    @classmethod
    def _compiled(cls, patterns: list[str]) -> list[str]:
        for number, pattern in enumerate(patterns, 1):
            try:
                check_pattern(pattern)
            except ValueError as error:
                raise ValueError(f"has as number {number} one that cannot be used: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.literals and not self.patterns:
            raise ValueError("has an entry with neither literals nor patterns")
        return self
