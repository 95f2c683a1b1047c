"""The settings, each declared once, with the rules that a value must keep."""

import json
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from loom.config.entries import DURATION, Bytes, Model, Redact, Seconds, TokenEntry, Webhook

SECRET = frozenset({"tokens", "signing_key", "webhooks", "redact"})
"""Settings whose values appear in no message."""

STORE_URL = re.compile(r"[a-z][a-z0-9+.-]*:.*")
SHORT_STORES = {"files": "file:", "memory": "memory:"}
"""Names of stores that are accepted in place of a URL."""


def _split(value: object) -> object:
    """Return the list that a flag or variable spells: JSON if it begins with a bracket, else with commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("is not a JSON list") from None
    return [item.strip() for item in value.split(",")]


def _check_tokens(tokens: "list[TokenEntry]") -> "list[TokenEntry]":
    if not tokens:
        raise ValueError("is an empty list; leave it out to run without authentication")
    return tokens


def _check_networks(networks: list[str]) -> list[str]:
    for each in networks:
        try:
            ip_network(each, strict=False)
        except ValueError:
            raise ValueError(f"has {each}, which is no IP address or network such as 10.0.0.0/8") from None
    return networks


def _check_store(value: str) -> str:
    url = SHORT_STORES.get(value, value)
    if not STORE_URL.fullmatch(url):
        raise ValueError("is not a URL such as file:./data or memory:")
    if re.match("file://(?!/)", url):
        raise ValueError("names no directory; write file:PATH or file:///PATH")
    return url


Strings = Annotated[list[str], BeforeValidator(_split)]
Networks = Annotated[list[str], BeforeValidator(_split), AfterValidator(_check_networks)]
Tokens = Annotated[list[TokenEntry], BeforeValidator(_split), AfterValidator(_check_tokens)]
Webhooks = Annotated[list[Webhook], BeforeValidator(_split)]
Redacts = Annotated[list[Redact], BeforeValidator(_split)]


class FilesSettings(Model):
    """What only the store `file:` uses.

    Each store with settings has such a model, and `Settings` inherits from it. The names stay flat, because a
    nested section would give each flag and variable a second spelling.
    """

    durability: Literal["disk", "os"] = "disk"
    """What acknowledged bytes survive: power loss (disk), or only a crash of the server (os)."""
    min_free_bytes: Bytes = Field(64 << 20, ge=0)
    """Disk space to leave free; with less, writes are refused."""
    min_free_inodes: int = Field(1000, ge=0)
    """Inodes to leave free; with fewer, writes are refused."""


class ServerSettings(Model):
    """Settings that do not depend on the store."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(3060, ge=0, le=65535)
    """TCP port to listen on; 0 picks a free one."""
    tls_cert: Path | None = None
    """PEM file with the certificate, and those between it and the root, to serve HTTPS; SIGHUP reloads it.
    None: serve HTTP."""
    tls_key: Path | None = None
    """PEM file with the private key of the certificate, without a password; none: the key is in the file
    tls_cert."""
    data: Path = Path("./data")
    """Directory of the store `file:`, created if absent."""
    store: Annotated[str, AfterValidator(_check_store)] = "file:"
    """Where streams are stored: `file:` (in the data directory), `file:PATH`, or `memory:` (until the server
    stops)."""
    tokens: Tokens = Field([], repr=False)
    """Bearer tokens; with any, every request needs one. Keep them in a file: other users of the machine can
    see flags. There an entry may be a mapping with name, token or sha256, scopes, prefix, expires,
    max_streams, max_streams_live, max_creations_per_minute and max_bytes_per_day."""
    insecure: bool = True
    """Whether to start without tokens, so that every client may do everything; the container image says
    false."""
    signing_key: Strings = Field([], repr=False)
    """Keys that verify the tokens of `loom share` and `loom token`, each at least 32 characters; the last one
    signs. If none, the keys are the lines of signing.key in the data directory, which is created with one."""
    resume_window: Seconds = 30.0
    """Time an interrupted stream waits for its producer before it is aborted: 90s, 10m, 24h."""
    open_window: Seconds = 86400.0
    """Time an open stream waits for its next producer before it is aborted."""
    retention: Annotated[float, DURATION] = Field(0.0, ge=0, le=100 * 366 * 86400, allow_inf_nan=False)
    """Time a stream is kept after its end, such as 7d, unless its creation sets one; 0: forever."""
    producer_idle_timeout: Seconds = 0.0
    """Time without a byte after which a producer is disconnected; 0: never."""
    long_poll_timeout: Annotated[float, DURATION] = Field(20.0, ge=0, le=3600, allow_inf_nan=False)
    """Time after which a long-poll of Durable Streams is answered without bytes."""
    max_append_bytes: Bytes = Field(16 << 20, ge=1024, le=1 << 28)
    """Maximum bytes of one append in Durable Streams, which is held in memory until it is stored."""
    max_metadata_bytes: int = Field(4096, ge=2, le=32768)
    """Maximum bytes of a stream's metadata, as a header has it."""
    early_response: Literal["direct", "always", "never"] = "direct"
    """Whether to answer a producer before its request ends: always, never, or if it sends a live body
    (without a Content-Length) on a direct connection. Many proxies lose data after an early response."""
    allowed_hosts: Strings = Field([])
    """Host names to accept besides loopback names; none: any if there are tokens, else IP addresses, and not
    even those if the server listens on a loopback address."""
    cors_origins: Strings = Field([])
    """Origins whose web pages may use this server; none: no CORS."""
    trusted_proxies: Networks = Field([])
    """Addresses and networks of the reverse proxies whose X-Forwarded-For names the client, for the log and
    for limits on clients; none: the address that connects is the client's."""
    rate_limit: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)
    """Requests a second of one token, and of one address, IPv6 by /64; those of ten seconds may come at once.
    0: no limit."""
    max_stream_bytes: Bytes = Field(0, ge=0)
    """Maximum bytes of a stream, such as 10GiB; one that exceeds it is aborted. 0: no limit."""
    max_store_bytes: Bytes = Field(0, ge=0)
    """Maximum bytes of all streams, with their metadata and 1 KiB for each; at the limit, writes are refused.
    0: no limit."""
    max_streams: int = Field(0, ge=0)
    """Maximum number of streams; at the limit, creations are refused. 0: no limit."""
    max_streams_live: int = Field(0, ge=0)
    """Maximum number of streams with a producer or open for one at once; 0: no limit."""
    max_followers: int = Field(0, ge=0)
    """Maximum number of followers at once, /spy and /events included; 0: no limit."""
    max_connections: int = Field(0, ge=0)
    """Maximum number of connections at once; 0: a third of the files that the server may open, at most
    65,536."""
    max_connections_per_address: int = Field(0, ge=0)
    """Maximum number of connections at once from one address, IPv6 by /64, and of requests at once from one
    behind trusted proxies; 0: half of all."""
    search_workers: int = Field(2, ge=1, le=64)
    """Maximum number of processes that search streams for patterns; they run only while they are needed."""
    max_search_time: Seconds = 60.0
    """Time that one search may work, before the client has to continue it; 0: no limit."""
    max_search_bytes: Bytes = Field(64 << 30, ge=0)
    """Bytes that one search may read, before the client has to continue it; 0: no limit."""
    scrub_interval: Seconds = 7 * 86400.0
    """Time between integrity checks; 0: never."""
    scrub_rate: Bytes = Field(8 << 20, ge=4096)
    """Bytes a second that an integrity check reads."""
    shutdown_timeout: Seconds = 10.0
    """Time that connections have to end when the server stops."""
    webhooks: Webhooks = Field([], repr=False)
    """URLs to notify when a stream ends: a list of mappings with url, prefix and secret."""
    redact: Redacts = Field([], repr=False)
    """What to replace by `*` before it is stored: a list of mappings with prefix, literals (texts) and
    patterns (RE2 expressions)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level to log."""
    log_format: Literal["auto", "human", "json"] = "auto"
    """Format of log lines; auto: human on a terminal, else json."""


class Settings(FilesSettings, ServerSettings):
    """All settings of a server. Lists are YAML lists in files, elsewhere JSON or separated by commas."""

    @model_validator(mode="after")
    def _one_directory(self) -> Self:
        if "data" in self.model_fields_set and self.directory not in (None, self.data):
            raise ValueError("The settings data and store name two directories; give one of them.")
        return self

    @model_validator(mode="after")
    def _whole_pair(self) -> Self:
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("The setting tls_key needs the setting tls_cert; give both to serve HTTPS.")
        return self

    @model_validator(mode="after")
    def _secure(self) -> Self:
        if not self.insecure and not self.tokens:
            raise ValueError(
                "No tokens are set. Set LOOM_TOKENS or the setting tokens; or set LOOM_INSECURE=1, with "
                "which everyone who reaches this address may read, write and delete every stream."
            )
        return self

    @property
    def scheme(self) -> str:
        """The kind of store: the scheme of its URL."""
        return self.store.partition(":")[0]

    @property
    def directory(self) -> Path | None:
        """The data directory; None if the store has none."""
        if self.scheme != "file":
            return None
        path = self.store.removeprefix("file:").removeprefix("//")
        return Path(path) if path else self.data

    @property
    def secrets(self) -> Iterator[str]:
        """Values that no log line may show."""
        yield from (entry.token for entry in self.tokens if entry.token)
        yield from self.signing_key
        yield from (hook.secret for hook in self.webhooks)
        yield from (text for each in self.redact for text in each.literals)
