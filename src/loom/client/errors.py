"""Everything the client raises on purpose. Knows nothing of HTTP libraries.

ClientError                     a LoomError; `temporary` says whether the same may work later
├── InvalidRequest              never sent: the id, the server's URL or an argument cannot be meant
├── Refused                     the server answered, and the answer is no; has `status`, `code` and `problem`
│   ├── Unauthorized            401  no token, or one that is not known
│   ├── Forbidden               403  the token does not allow it
│   ├── NotFound                404
│   ├── Conflict                409  taken, final, at another offset: `code` says which
│   ├── Replaced                412  deleted or replaced: the bytes read so far are of another stream
│   ├── OutOfRange              416  no byte there
│   └── Unavailable             408, 429, 5xx  may work later; `retry_after` in seconds where it was told
├── Lost                        the server was not reached, or went away before it had said everything
├── Fenced                      this producer may not go on: the stream is another one's by now
├── Aborted                     the stream ended without its producer saying that it is complete
├── Corrupted                   the bytes are not those that the server's digest was made of
├── InputFailed                 what should have been sent could not be read; `__cause__` says why
└── Spooled                     not all was sent; what is left is kept in a file; `__cause__` says why
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loom.errors import LoomError


class ClientError(LoomError):
    """The root. `str()` is a sentence for people; where the server said why, it is the server's own."""

    code = "client"
    status = 0
    temporary = False


class InvalidRequest(ClientError, ValueError):
    """Nothing was sent: it could not be meant."""

    code = "invalid_request"


class Refused(ClientError):
    """The server answered, and the answer is no. `code` and `problem` are as RFC 9457 has them, if given."""

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


class Unauthorized(Refused):
    """No token, or one that is not known."""

    code = "unauthorized"


class Forbidden(Refused):
    """The token is known, and does not allow this."""

    code = "forbidden"


class NotFound(Refused):
    """No stream of that id, or none that this token may know of."""

    code = "not_found"


class Conflict(Refused):
    """The stream is not as the request takes it to be; `code` says in what."""

    code = "conflict"


class Replaced(Refused):
    """The stream under this id is another one by now: what came so far does not go on."""

    code = "precondition_failed"


class OutOfRange(Refused):
    """The stream has no byte where it was asked for."""

    code = "range_not_satisfiable"


class Unavailable(Refused):
    """A limit or a failure of the server, or of a proxy before it: the same may work later."""

    code = "unavailable"
    temporary = True


class Lost(ClientError):
    """The server was not reached, or was lost before it had said everything."""

    code = "lost"
    temporary = True


class Fenced(ClientError):
    """This producer may not go on: another one took the stream over, or it was replaced."""

    code = "fenced"


class Aborted(ClientError):
    """The stream was aborted: `reason` says why, `offset` how many bytes there are."""

    code = "aborted"

    def __init__(self, id: str, reason: str, offset: int) -> None:
        super().__init__(f"The stream {id} was aborted after {offset} bytes{reason and ': '}{reason}.")
        self.reason = reason
        self.offset = offset


class Corrupted(ClientError):
    """The bytes are not those that the server's digest was made of."""

    code = "corrupted"


class Spooled(ClientError):
    """Not all was sent; what is left is kept in the file `path`, for later."""

    code = "spooled"

    def __init__(self, error: ClientError, path: Path) -> None:
        super().__init__(f"{error} What is left to send is kept in {path}.")
        self.path = path


class InputFailed(ClientError):
    """What should have been sent could not be read to its end; `__cause__` says why."""

    code = "input_failed"


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
"""The class of each status; any other is plainly Refused."""
