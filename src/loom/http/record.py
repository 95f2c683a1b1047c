"""What happens to requests, for the access log, the audit log, the metrics and the traces."""

from dataclasses import dataclass
from urllib.parse import quote

from starlette.types import Scope

from loom import logs
from loom.streams.crowd import Member

RECORD = "loom.record"
"""The key of a request's Record in its ASGI scope."""

CLIENT_LEFT = "the client left"
"""Why a response was cut that its client did not read to the end."""


@dataclass(slots=True, eq=False)
class Record:
    """One request. `status` is None until the response begins, `cut` says why a response did not reach its
    end, `code` why the request was refused; `took_over` is True once it has taken a stream over; `owner` is
    the configured token, `who` the name of the holder, which the holder of a signed token chose. `written`
    counts what the app sent; `member` may have sent more."""

    status: int | None = None
    received: int = 0
    written: int = 0
    stream: str = ""
    state: str = ""
    cut: str = ""
    code: str = ""
    took_over: bool = False
    owner: str = ""
    who: str = ""
    member: Member | None = None

    @property
    def sent(self) -> int:
        """The bytes of the body that were sent, by the app or by a crowd."""
        return self.written + (0 if self.member is None else self.member.sent)


def audit(scope: Scope, event: str, **fields: object) -> None:
    """Log an event of the audit channel, with the client, the configured token and the holder."""
    record: Record = scope[RECORD]
    logs.audit(event, client=client_of(scope), owner=record.owner, who=record.who, **fields)


def audit_refusal(scope: Scope, code: str) -> None:
    """Log that a request was refused because of who sent it or from where."""
    audit(scope, "access.refused", code=code, method=scope["method"], path=path_of(scope))


def client_of(scope: Scope) -> str:
    """Return the address of the client."""
    address: str = (scope.get("client") or ("",))[0]
    return address


def path_of(scope: Scope) -> str:
    """Return the path as a log line shows it."""
    return quote(scope["path"], safe="/%!$&'()*+,;=:@~")


class Traffic:
    """Counts the bytes of all requests: those that run and those that have ended."""

    def __init__(self) -> None:
        self._open: set[Record] = set()
        self._received = self._sent = 0

    def begin(self) -> Record:
        """Return the record of a new request."""
        record = Record()
        self._open.add(record)
        return record

    def end(self, record: Record) -> None:
        """Keep the bytes of a request that has ended."""
        self._open.discard(record)
        self._received += record.received
        self._sent += record.sent

    def total(self) -> tuple[int, int]:
        """Return the bytes received and sent so far."""
        received = self._received + sum(record.received for record in self._open)
        return received, self._sent + sum(record.sent for record in self._open)
