"""What happens to one request, noted for the access log, the metrics and the traces."""

from dataclasses import dataclass

RECORD = "loom.record"
"""The key of a request's Record in its ASGI scope."""

CLIENT_LEFT = "the client left"
"""Why an answer was cut that its client did not read to the end."""


@dataclass(slots=True, eq=False)
class Record:
    """One request. `status` is None until the answer begins, `cut` says why an answer did not reach its end,
    `code` why the request was refused; `who` is the name of the token."""

    status: int | None = None
    received: int = 0
    sent: int = 0
    stream: str = ""
    state: str = ""
    cut: str = ""
    code: str = ""
    who: str = ""
