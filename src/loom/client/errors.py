"""Define every error that the client raises on purpose. Knows nothing of HTTP libraries.

ClientError                     a LoomError; `temporary` says whether a retry may succeed
├── InvalidRequest              nothing was sent: the id, the server's URL or an argument is not valid
├── Refused                     the server refused, or is no Loom server; has `status`, `code` and `problem`
│   ├── Unauthorized            401  the token is missing or unknown
│   ├── Forbidden               403  the token does not allow this
│   ├── NotFound                404
│   ├── Conflict                409  exists, final, at another offset: `code` says which
│   ├── Replaced                412  deleted or replaced: the bytes read so far belong to another stream
│   ├── Foreign                 the response is not Loom's: another program or a proxy has answered
│   ├── OutOfRange              416  the stream has no byte there
│   └── Unavailable             408, 429, 5xx  a retry may succeed, after `retry_after` seconds if given
├── Lost                        the server cannot be reached, or the connection was lost
├── Fenced                      another producer took the stream over, or the stream was replaced
├── Aborted                     the stream ended without being complete
├── Corrupted                   the bytes do not match the digest of the stream
├── InputFailed                 the source of a push could not be read; `__cause__` says why
└── Spooled                     not everything was sent; the rest is in a file; `__cause__` says why
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loom.errors import LoomError


class ClientError(LoomError):
    """The root. `str()` is a sentence for the user: the server's own, if it sent one."""

    code = "client"
    status = 0
    temporary = False
    unsent = 0
    """After a failed push: bytes of its input that were read and are neither stored nor kept."""


class InvalidRequest(ClientError, ValueError):
    """The request is not valid; nothing was sent."""

    code = "invalid_request"


class Refused(ClientError):
    """The server refused, or its response is not Loom's.

    `problem` is the problem detail (RFC 9457), `code` its member of that name.
    """

    code = "refused"

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        problem: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = dict(problem or {})
        self.code = str(self.problem.get("code") or type(self).code)
        self.retry_after = retry_after


class Foreign(Refused):
    """The response is not Loom's: another program or a proxy has answered."""

    code = "foreign"


class Unauthorized(Refused):
    """The token is missing or unknown."""

    code = "unauthorized"


class Forbidden(Refused):
    """The token is known but does not allow this."""

    code = "forbidden"


class NotFound(Refused):
    """No stream has this id, or the token does not allow to see it."""

    code = "not_found"


class Conflict(Refused):
    """The stream is in another state than the request expects; `code` says in which."""

    code = "conflict"


class Replaced(Refused):
    """The id belongs to another stream now, or to none: the bytes read so far have no continuation."""

    code = "precondition_failed"


class OutOfRange(Refused):
    """The stream has no byte in the requested range."""

    code = "range_not_satisfiable"


class Unavailable(Refused):
    """A limit or a failure of the server or of a proxy. A retry may succeed."""

    code = "unavailable"
    temporary = True


class Lost(ClientError):
    """The server cannot be reached, or the connection was lost before the response had ended."""

    code = "lost"
    temporary = True


class Fenced(ClientError):
    """This producer must stop: another one took the stream over, or the stream was replaced."""

    code = "fenced"


class Aborted(ClientError):
    """The stream was aborted. `reason` says why, `offset` how many bytes it has."""

    code = "aborted"

    def __init__(self, id: str, reason: str, offset: int) -> None:
        super().__init__(f"The stream {id} was aborted after {offset} bytes{reason and ': '}{reason}.")
        self.reason = reason
        self.offset = offset


class Corrupted(ClientError):
    """The bytes do not match the digest of the stream."""

    code = "corrupted"


class Spooled(ClientError):
    """Not everything was sent. The rest is kept in the file `path`."""

    code = "spooled"

    def __init__(self, error: ClientError, path: Path) -> None:
        super().__init__(f"{error} The rest is kept in {path}.")
        self.path = path


class InputFailed(ClientError):
    """The source of a push could not be read to its end. `__cause__` says why."""

    code = "input_failed"

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The input could not be read: {getattr(error, 'strerror', None) or error}.")


BY_STATUS: Mapping[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: Replaced,
    416: OutOfRange,
    429: Unavailable,
    500: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: Unavailable,
}
"""The class of each status. Any other is Refused itself."""
