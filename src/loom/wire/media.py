"""Media types that client and server name. Pure."""

from collections.abc import Iterable

JSON = "application/json"
PROBLEM = "application/problem+json"
"""An error (RFC 9457)."""
EVENTS = "text/event-stream"
"""Server-Sent Events."""
LINES = "application/x-ndjson"
"""Lines of JSON: the progress of an upload, or the results of a search."""
PARTIAL_UPLOAD = "application/partial-upload"
"""The body of a PATCH that appends (draft-ietf-httpbis-resumable-upload)."""
OFFSET_STREAM = "application/offset+octet-stream"
"""The same in tus 1.0."""
MERGE_PATCH = "application/merge-patch+json"
"""The body of a PATCH that changes metadata (RFC 7396)."""


def plain_type(content_type: str) -> str:
    """Return a content type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def accepts_events(values: Iterable[bytes]) -> bool:
    """Return True if an Accept header names events and prefers no other type (RFC 9110 section 12.5.1)."""
    wanted = {}
    for item in b",".join(values).decode("latin-1").lower().split(","):
        name, *parameters = [part.strip() for part in item.split(";")]
        quality = next((part[2:].strip() for part in parameters if part.startswith("q=")), "1")
        try:
            wanted[name] = float(quality)
        except ValueError:
            wanted[name] = 0.0
    best = wanted.get(EVENTS, 0.0)
    return best > 0 and best >= max(wanted.values())
