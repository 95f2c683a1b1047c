"""How long a stream is kept: what a creation asks for, and what answers tell. Pure.

Stream-TTL: 86400                           seconds from the stream's end; 0: it is kept until deleted
Stream-Expires-At: 2027-01-31T12:00:00Z     a time (RFC 3339); a stream that ends later goes at its end
"""

from loom.errors import BadRequest
from loom.http.problem import Headers
from loom.http.stream.conditions import Fields
from loom.model import Info
from loom.wire.structured import integer
from loom.wire.times import parse_rfc3339, rfc3339

MAX_TTL = 100 * 366 * 86400


def lifetime(fields: Fields, now: float) -> tuple[float | None, float | None]:
    """The TTL and the expiry that a creation asks for, one of them at most. Raises BadRequest."""
    ttl = integer("Stream-TTL", fields.all(b"stream-ttl"))
    times = fields.all(b"stream-expires-at")
    if ttl is not None and ttl > MAX_TTL:
        raise BadRequest(f"Stream-TTL is {MAX_TTL} seconds at most; 0 keeps the stream until it is deleted.")
    if not times:
        return ttl, None
    if ttl is not None or len(times) > 1:
        raise BadRequest("Say either Stream-TTL or Stream-Expires-At, once.")
    expires = parse_rfc3339(times[0].decode("latin-1").strip())
    if not expires > now:
        raise BadRequest("Stream-Expires-At is a time to come, given as 2027-01-31T12:00:00Z.")
    return None, expires


def lifetime_headers(info: Info) -> Headers:
    """When the stream expires, or while that hangs on its end, how long after."""
    if info.expires is not None:
        return [(b"stream-expires-at", rfc3339(info.expires).encode())]
    return [(b"stream-ttl", b"%d" % info.ttl)] if info.ttl else []
