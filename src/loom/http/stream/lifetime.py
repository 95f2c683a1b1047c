"""How long a stream is kept: what a creation requests, and what responses report. Pure.

Stream-TTL: 86400                           seconds from the stream's end; 0: it is kept until deleted
Stream-Expires-At: 2027-01-31T12:00:00Z     a time (RFC 3339); a stream that ends later is deleted at its end
"""

from loom.errors import BadRequest
from loom.http.headers import Fields, Headers
from loom.model import Info
from loom.wire.fields import parse_integer
from loom.wire.times import parse_rfc3339, rfc3339

MAX_TTL = 100 * 366 * 86400


def lifetime(fields: Fields, now: float) -> tuple[float | None, float | None]:
    """Return the TTL and the expiry that a creation requests, at most one of them. Raises BadRequest."""
    ttl = parse_integer("Stream-TTL", fields.all(b"stream-ttl"))
    times = fields.all(b"stream-expires-at")
    if ttl is not None and ttl > MAX_TTL:
        raise BadRequest(
            f"Stream-TTL must be at most {MAX_TTL} seconds; 0 keeps the stream until it is deleted."
        )
    if not times:
        return ttl, None
    if ttl is not None or len(times) > 1:
        raise BadRequest("Send either Stream-TTL or Stream-Expires-At, once.")
    expires = parse_rfc3339(times[0].decode("latin-1").strip())
    if not expires > now:
        raise BadRequest("Stream-Expires-At must be a time in the future, such as 2027-01-31T12:00:00Z.")
    return None, expires


def lifetime_headers(info: Info) -> Headers:
    """Return when the stream expires or, while that depends on its end, how long after its end."""
    if info.expires is not None:
        return [(b"stream-expires-at", rfc3339(info.expires).encode())]
    return [(b"stream-ttl", b"%d" % info.ttl)] if info.ttl else []
