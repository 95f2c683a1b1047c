"""The requests of a producer: create, locate, append, close, or all in one POST.

Owns their headers and the meaning of their responses; decides nothing (draft-ietf-httpbis-resumable-upload).

An offset counts as confirmed only where the server reports it: in `Upload-Offset`, or in a line of progress.
The success of a request confirms nothing: a proxy may have swallowed a part of its body.
"""

import json
import secrets
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from loom.client.errors import InvalidRequest, Lost, Refused
from loom.client.session import Session, check_end, head_of, refusal
from loom.errors import InvalidMetadata
from loom.model import DEFAULT_CONTENT_TYPE
from loom.wire.fields import tag_of
from loom.wire.media import LINES, MERGE_PATCH
from loom.wire.metadata import check_metadata
from loom.wire.upload import Progress, append_headers

STATE_MISMATCH = ("offset_mismatch", "epoch_mismatch")
"""Codes of refusals that changed nothing: the UploadState of the request was out of date."""


@dataclass(frozen=True, slots=True)
class UploadState:
    """The state of a stream at the server: `offset` bytes are durable.

    `key` identifies the stream, also after its id was reused. `epoch` counts the producers it has had.
    """

    offset: int
    key: str
    epoch: int
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What a stream is created with: `metadata` in JSON, in ASCII; `resume_window` in seconds; `ttl`, the
    seconds from its end to its deletion (0: never; None: the server's default). If the id is taken, `force`
    replaces that stream, and `new_id` takes the next free id: `a-2` for `a`. The idempotency key makes a
    repeated creation return the same stream."""

    metadata: str = "{}"
    content_type: str = DEFAULT_CONTENT_TYPE
    force: bool = False
    new_id: bool = False
    resume_window: int = 86400
    ttl: int | None = None
    idempotency_key: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __post_init__(self) -> None:
        """Raise InvalidRequest if the metadata is not valid."""
        try:
            check_metadata(self.metadata, "The metadata")
        except InvalidMetadata as error:
            raise InvalidRequest(str(error)) from None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request that creates the stream."""
        kept = {} if self.ttl is None else {"Stream-TTL": str(self.ttl)}
        return kept | {
            "X-Stream-Metadata": self.metadata,
            "Content-Type": self.content_type,
            "Stream-Resume-Window": str(self.resume_window),
            "Idempotency-Key": self.idempotency_key,
        }


class Uploads:
    """The requests for one stream on one server. All raise Refused and Lost."""

    def __init__(self, session: Session, base: str, number: int = 1) -> None:
        self.id = base if number == 1 else f"{base}-{number}"
        self._session = session
        self._base = base
        self._number = number
        self._url = session.stream_url(self.id)

    def renumbered(self) -> Self:
        """Return the requests for the next id: `a-2` after `a`, `a-3` after `a-2`."""
        return type(self)(self._session, self._base, self._number + 1)

    async def create(self, headers: Mapping[str, str], *, force: bool) -> UploadState:
        """Create the stream, empty and open. A repeat with the same Idempotency-Key finds that stream."""
        async with self._session.request(
            "POST", self._creation_url(force), headers={**headers, "Upload-Complete": "?0"}, data=b""
        ) as response:
            return _state_of(response)

    async def locate(self) -> UploadState:
        """Return the current state. Fences no producer."""
        async with self._session.request("HEAD", self._url) as response:
            return _state_of(response)

    async def append(
        self,
        state: UploadState,
        body: AsyncIterable[bytes],
        on_confirmed: Callable[[UploadState], None],
        *,
        length: int | None = None,
    ) -> None:
        """Append `body` at `state.offset`, and return at the end of the response.

        `on_confirmed` is called with each state that the server reports. Without `length` the body may take
        any time, and the server reports progress meanwhile.
        """
        headers = append_headers(state.offset, complete=False, key=state.key, epoch=state.epoch)
        if length is None:
            headers["Accept"] = LINES
        else:
            headers["Content-Length"] = str(length)
        async with self._session.request(
            "PATCH", self._url, headers=headers, data=body, follow=length is None, answer=None
        ) as response:
            reported = _state_of(response)
            on_confirmed(reported)
            if response.content_type != LINES:
                return
            try:
                async for line in response.content:
                    progress = Progress.of(line)
                    on_confirmed(replace(reported, offset=progress.offset))
                    if progress.state is not None:
                        return
            except (ValueError, RecursionError, LineTooLong):
                # A part of a line looks like this, too: a retry then asks for the offset.
                raise Lost("The response is not a report of progress, or was cut.") from None
        raise Lost("The response ended before the server had confirmed everything.")

    async def close(self, state: UploadState, digest: str | None) -> UploadState:
        """Complete the stream at `state.offset` bytes, which have this `Stream-Digest`. May be repeated."""
        headers = append_headers(state.offset, complete=True, key=state.key, epoch=state.epoch)
        if digest is not None:
            headers["Stream-Digest"] = digest
        async with self._session.request("PATCH", self._url, headers=headers, data=b"") as response:
            reported = _state_of(response)
        if not reported.complete or reported.offset != state.offset:
            raise Refused(409, f"The server confirmed {reported.offset} of {state.offset} bytes.")
        return reported

    async def describe(self, key: str, members: Mapping[str, Any]) -> None:
        """Merge `members` into the stream's metadata (RFC 7396)."""
        headers = {"Content-Type": MERGE_PATCH, "If-Match": tag_of(key)}
        async with self._session.request(
            "PATCH", self._url, headers=headers, data=json.dumps(members).encode()
        ):
            pass

    async def post(self, headers: Mapping[str, str], body: AsyncIterable[bytes], *, force: bool) -> None:
        """Create the stream with `body` as its bytes, and return once the response has ended properly.

        The response may begin before the first byte is sent or after the last one. A refusal is seen while
        bytes are still being sent.
        """
        async with self._session.request(
            "POST", self._creation_url(force), headers=headers, data=body, follow=True, answer=None
        ) as response:
            if response.status != HTTPStatus.CREATED:
                raise await refusal(response)
            async for _ in response.content.iter_any():
                pass
            check_end(response)

    def _creation_url(self, force: bool) -> URL:
        return self._session.stream_url(self.id, {"force": "true"} if force else None)


def _state_of(response: aiohttp.ClientResponse) -> UploadState:
    head = head_of(response, "size", "epoch", "key")
    assert head.size is not None
    assert head.epoch is not None
    assert head.key is not None
    return UploadState(head.size, head.key, head.epoch, bool(head.complete))
