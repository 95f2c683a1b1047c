"""The settings: each declared once, in `Settings`; flags, environment, file keys and help derive from it.

Owns where a value comes from (flags > environment > files > defaults) and the sentence that says what is
wrong with one. Knows nothing of what the settings do. Plain pydantic rather than pydantic-settings, which
forgets where a value came from, passes over unknown variables and reads lists from the environment as JSON.
"""

import base64
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from loom.errors import ConfigError

PREFIX = "LOOM_"
CLIENT_VARIABLES = frozenset({"LOOM_SERVER", "LOOM_TOKEN", "LOOM_PROXY", "LOOM_CLIENT_CONFIG"})
"""Read by the client commands, never by the server."""

SECRET = frozenset({"tokens", "signing_key", "webhooks"})
"""Settings whose values are never told."""

BASE64_MARK = "whsec_"
"""Before the Base64 of a secret, as Standard Webhooks has it."""

TOKEN = re.compile(r"[!-~]+")
"""What can be told from its surroundings in a header; RFC 6750 section 2.1 allows a little less."""


def _split(value: object) -> object:
    """A list as flags and the environment spell it: JSON if it begins with a bracket, else with commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("is not a JSON list") from None
    return [item.strip() for item in value.split(",")]


def _check_token(token: str) -> str:
    if not TOKEN.fullmatch(token):
        raise ValueError("has a token that is empty or has spaces or characters outside ASCII")
    return token


class TokenEntry(BaseModel):
    """A token and what it allows. In the list `tokens` a plain string is one that allows everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", max_length=100, description="Who holds it; told in the log.")
    token: Annotated[str, AfterValidator(_check_token)] | None = Field(
        None, repr=False, description="The token itself."
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Its SHA-256 in hex, instead of the token."
    )
    scopes: frozenset[Literal["read", "write", "replace", "admin"]] = Field(
        frozenset({"read", "write"}),
        min_length=1,
        description="read; write: create streams and go on; replace: delete and overwrite; admin: all.",
    )
    prefix: str = Field("", description="What the ids begin with that it may touch.")
    expires: AwareDatetime | None = Field(None, description="When it ends, as 2026-12-31T12:00:00Z.")
    max_streams_live: int = Field(0, ge=0, description="Streams it may write at once; 0: no limit.")
    max_bytes_per_day: ByteSize = Field(
        ByteSize(0), ge=0, description="Bytes it may send a day (also as 10GiB); 0: no limit."
    )

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


class Webhook(BaseModel):
    """Whom to tell when a stream ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(pattern="^https?://[^/]", repr=False, description="Where to POST.")
    prefix: str = Field("", description="What the ids begin with that it is told of.")
    secret: str = Field("", repr=False, description="Signs what is sent; whsec_ and Base64, or any text.")

    @field_validator("secret")
    @classmethod
    def _base64(cls, value: str) -> str:
        if value.startswith(BASE64_MARK):
            try:
                base64.b64decode(value.removeprefix(BASE64_MARK), validate=True)
            except ValueError:
                raise ValueError("has a secret that is not Base64 behind whsec_") from None
        return value

    @property
    def key(self) -> bytes:
        """The secret's bytes."""
        if self.secret.startswith(BASE64_MARK):
            return base64.b64decode(self.secret.removeprefix(BASE64_MARK))
        return self.secret.encode()


Strings = Annotated[list[str], BeforeValidator(_split)]
Tokens = Annotated[list[TokenEntry], BeforeValidator(_split)]
Webhooks = Annotated[list[Webhook], BeforeValidator(_split)]
Seconds = Annotated[float, Field(ge=0, le=366 * 86400, allow_inf_nan=False)]


class Settings(BaseModel):
    """What a server can be told. Lists are YAML lists in files, else JSON or separated by commas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(3060, ge=0, le=65535, description="TCP port to listen on; 0 picks a free one.")
    data: Path = Field(
        Path("./data"), description="Data directory, created where absent; relative to the working directory."
    )
    store: Literal["files", "memory"] = Field(
        "files",
        description="Where streams are kept: in the data directory, or in memory until the server ends.",
    )
    durability: Literal["disk", "os"] = Field(
        "disk",
        description="What is acknowledged survives power loss (disk), or only a crash of the server (os).",
    )
    tokens: Tokens = Field(
        [],
        repr=False,
        description="Bearer tokens, one of which every request needs; none: no authentication. "
        "Better kept in a file than in a flag, which other users of the machine can see. There an entry "
        "may be a mapping with name, token or sha256, scopes, prefix and expires.",
    )
    signing_key: str = Field(
        "",
        repr=False,
        description="Key that signs the tokens of `loom share` and `loom token`, 32 characters or more; "
        "none: one is made and kept in the data directory as signing.key. Another key ends them.",
    )
    resume_window: Seconds = Field(
        30.0, description="Seconds an interrupted stream waits for its producer before it is aborted."
    )
    open_window: Seconds = Field(
        86400.0, description="Seconds a stream that its producer left open waits for the next one."
    )
    retention: float = Field(
        0.0,
        ge=0,
        le=100 * 366 * 86400,
        allow_inf_nan=False,
        description="Seconds a stream is kept after its end if its creation does not say; 0: for ever.",
    )
    producer_idle_timeout: Seconds = Field(
        0.0, description="Seconds without a byte after which a producer is cut; 0: never."
    )
    max_metadata_bytes: int = Field(
        4096, ge=2, le=32768, description="Bytes the metadata of a stream may have, as returned in a header."
    )
    early_response: Literal["direct", "always", "never"] = Field(
        "direct",
        description="Answer a producer before its body: on direct connections only, always, or never. "
        "Many proxies lose data when answered early.",
    )
    allowed_hosts: Strings = Field(
        [], description="Host names to answer for; none: loopback names on loopback without tokens, else any."
    )
    cors_origins: Strings = Field(
        [], description="Origins whose web pages may use this server; none: no CORS."
    )
    max_stream_bytes: ByteSize = Field(
        ByteSize(0),
        ge=0,
        description="Bytes a stream may have; with more it is aborted. 0: any number.",
    )
    max_store_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="Bytes all streams together may have; 0: any number."
    )
    max_streams_live: int = Field(0, ge=0, description="Streams with a producer at once; 0: any number.")
    max_followers: int = Field(
        0, ge=0, description="Readers at once that stay for what comes, /spy and /events too; 0: any number."
    )
    min_free_bytes: ByteSize = Field(
        ByteSize(64 << 20), ge=0, description="Bytes of disk space to leave free (also as 64MiB)."
    )
    min_free_inodes: int = Field(1000, ge=0, description="Inodes to leave free.")
    scrub_interval: Seconds = Field(
        7 * 86400.0,
        description="Seconds between two looks through all complete streams for damage; 0: never.",
    )
    scrub_rate: ByteSize = Field(
        ByteSize(8 << 20), ge=4096, description="Bytes a second that such a look reads (also as 8MiB)."
    )
    shutdown_timeout: Seconds = Field(
        10.0, description="Seconds that connections may take to end when the server stops."
    )
    webhooks: Webhooks = Field(
        [],
        repr=False,
        description="Whom to tell when a stream ends: a list of mappings with url, prefix and secret.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level to log.")
    log_format: Literal["auto", "human", "json"] = Field(
        "auto", description="Log lines for people or as JSON; auto: for people on a terminal."
    )


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: str
    """Where it was given, in the words of an error message."""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def load(files: Sequence[Path], environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings that files (a later one wins), environment and flags give together.

    A path may be a directory: its *.yaml and *.yml then, in name order. Raises ConfigError with one sentence.
    """
    given: dict[str, _Given] = {}
    for path in _expand(files):
        given |= {name: _Given(value, f"in {path}") for name, value in _read(path).items()}
    given |= {name: _Given(value, "in the environment") for name, value in _from_environment(environ)}
    given |= {name: _Given(value, "on the command line") for name, value in flags.items()}
    try:
        return Settings.model_validate({name: each.value for name, each in given.items()})
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0], given)) from None


def _expand(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            with _readable(path):
                yield from sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
        else:
            yield path


def _read(path: Path) -> dict[str, Any]:
    """The keys and values of one YAML file."""
    with _readable(path):
        document = yaml.safe_load(path.read_bytes())
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f'The configuration file {path} does not have the form "setting: value".')
    for key in document:
        if key not in Settings.model_fields:
            raise ConfigError(f"Unknown setting {key!r} in {path}{_hint(str(key), Settings.model_fields)}")
    return document


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        # Not the parser's own words: they quote the file, and a token may stand there.
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise ConfigError(f"The configuration file {path} is not valid YAML{place}.") from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = {variable(name): name for name in Settings.model_fields}
    for key, value in environ.items():
        if not key.startswith(PREFIX) or key in CLIENT_VARIABLES:
            continue
        if key not in names:
            raise ConfigError(f"Unknown setting {key} in the environment{_hint(key, names)}")
        if not value:
            # An unset secret must not turn authentication off.
            raise ConfigError(f"{key} is empty in the environment; unset it or give it a value.")
        yield names[key], value


def _hint(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _explain(error: ErrorDetails, given: Mapping[str, _Given]) -> str:
    """One sentence: which setting, what value, where, what is wrong. A token's value is never told."""
    name = str(error["loc"][0])
    value, origin = given[name].value, given[name].origin
    told = "" if name in SECRET else f" {json.dumps(value, default=str)}"
    wrong = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"The setting {name} {origin} cannot be{told or ' used'}: it {wrong}."
