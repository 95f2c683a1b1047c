"""What a server tells of a stream, as frozen values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from loom.model import State


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream as it durably was when the server answered.

    `size` is in bytes, `key` names this creation of the id, `reason` says why it is not complete; `row` is
    what the server said, with whatever else newer servers tell.
    """

    id: str
    key: str
    state: State
    size: int
    reason: str
    content_type: str
    created: datetime
    ended: datetime | None
    expires: datetime | None
    metadata: Any
    row: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Raises LookupError, TypeError or ValueError if this is no row of a list of streams."""
        return cls(
            id=str(row["id"]),
            key=str(row["key"]),
            state=State(row["state"]),
            size=int(row["size"]),
            reason=str(row["reason"]),
            content_type=str(row["content_type"]),
            created=datetime.fromisoformat(row["created"]),
            ended=_time(row.get("ended")),
            expires=_time(row.get("expires")),
            metadata=row["metadata"],
            row=row,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a stream: `kind` is created, closed or deleted, `info` as it was after that, of a
    deleted one before it.

    `reset`, without an info, comes first, and whenever changes may have been missed: only a list of the
    streams, asked for after it, says what there is.
    """

    kind: str
    info: StreamInfo | None = None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
