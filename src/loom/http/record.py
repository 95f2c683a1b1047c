"""What happens to requests, for the access log, the metrics and the traces."""

from dataclasses import dataclass

RECORD = "loom.record"
"""The key of a request's Record in its ASGI scope."""

CLIENT_LEFT = "the client left"
"""Why a response was cut that its client did not read to the end."""


@dataclass(slots=True, eq=False)
class Record:
    """One request. `status` is None until the response begins, `cut` says why a response did not reach its
    end, `code` why the request was refused; `owner` is the configured token, `who` the name of the holder,
    which the holder of a signed token chose."""

    status: int | None = None
    received: int = 0
    sent: int = 0
    stream: str = ""
    state: str = ""
    cut: str = ""
    code: str = ""
    owner: str = ""
    who: str = ""


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
