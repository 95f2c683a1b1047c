"""The requests of a producer that can resume: create, ask how far it is, go on, close. Owns their headers and
what their answers mean; decides nothing (draft-ietf-httpbis-resumable-upload).

An offset is taken as confirmed only where the server tells it: in `Upload-Offset`, or in a line of progress.
That a request ended well says nothing: a proxy may have swallowed some of its body.
"""

import json
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from loom.client.errors import Lost, Refused
from loom.client.session import Session

PARTIAL_UPLOAD = "application/partial-upload"
PROGRESS = "application/x-ndjson"
MOVED = ("offset_mismatch", "epoch_mismatch")
"""Codes of a refusal that took nothing over: the stream is not where the request took it to be."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a stream is: `offset` bytes are durable. Its key, and how often a producer came to it."""

    offset: int
    key: str
    epoch: int
    complete: bool = False


class Uploads:
    """One stream on one server. All raise Refused and Lost."""

    def __init__(self, session: Session, id: str) -> None:
        self._session = session
        self._id = id
        self._url = session.stream_url(id)

    async def create(self, headers: Mapping[str, str], *, force: bool) -> Place:
        """Create the stream, empty and open; repeated with the same Idempotency-Key it is the same stream."""
        url = self._session.stream_url(self._id, {"force": "true"} if force else None)
        async with self._session.request(
            "POST", url, headers={**headers, "Upload-Complete": "?0"}, data=b""
        ) as response:
            return _place(response)

    async def locate(self) -> Place:
        """How far it is now. Nobody is fenced."""
        async with self._session.request("HEAD", self._url) as response:
            return _place(response)

    async def send(
        self,
        place: Place,
        body: AsyncIterable[bytes],
        confirmed: Callable[[Place], None],
        *,
        length: int | None = None,
    ) -> None:
        """Go on at `place`; returns at the end of the answer. `confirmed` is told how far the stream is.

        Without `length` the body may go on for any time, and the answer tells progress meanwhile.
        """
        headers = _headers(place, "?0")
        if length is None:
            headers["Accept"] = PROGRESS
        else:
            headers["Content-Length"] = str(length)
        async with self._session.request(
            "PATCH", self._url, headers=headers, data=body, follow=length is None, answer=None
        ) as response:
            told = _place(response)
            confirmed(told)
            if response.content_type != PROGRESS:
                return
            async for text in response.content:
                line = _line(text)
                confirmed(replace(told, offset=line["offset"]))
                if "state" in line:
                    return
        raise Lost("The server's answer ended before it had confirmed everything.")

    async def close(self, place: Place, digest: str | None) -> Place:
        """Say that the stream has `place.offset` bytes and is complete. May be repeated."""
        headers = _headers(place, "?1")
        if digest is not None:
            headers["Stream-Digest"] = digest
        async with self._session.request("PATCH", self._url, headers=headers, data=b"") as response:
            told = _place(response)
        if not told.complete or told.offset != place.offset:
            raise Refused(409, f"The server confirmed {told.offset} of {place.offset} bytes.")
        return told

    async def describe(self, key: str, members: Mapping[str, Any]) -> None:
        """Merge into the stream's metadata (RFC 7396)."""
        headers = {"Content-Type": "application/merge-patch+json", "If-Match": f'"{key}"'}
        async with self._session.request(
            "PATCH", self._url, headers=headers, data=json.dumps(members).encode()
        ):
            pass


def _headers(place: Place, complete: str) -> dict[str, str]:
    return {
        "Content-Type": PARTIAL_UPLOAD,
        "Upload-Offset": str(place.offset),
        "Upload-Complete": complete,
        "If-Match": f'"{place.key}"',
        "X-Stream-Epoch": str(place.epoch),
    }


def _place(response: aiohttp.ClientResponse) -> Place:
    """What the answer's headers say."""
    headers = response.headers
    try:
        offset = int(headers["Upload-Offset"])
        epoch = int(headers["X-Stream-Epoch"])
        key = headers.get("X-Stream-Key") or headers["ETag"].strip('"')
    except (LookupError, ValueError):
        raise Refused(response.status, f"{response.url.origin()} does not answer as a Loom server.") from None
    return Place(offset, key, epoch, headers.get("Upload-Complete") == "?1")


def _line(text: bytes) -> dict[str, Any]:
    """A line of progress."""
    try:
        line = json.loads(text)
        if isinstance(line["offset"], int):
            return dict(line)
    except (ValueError, TypeError, LookupError):
        pass
    raise Lost("The server's answer is not what was asked for.")
