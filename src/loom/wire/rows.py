"""One stream as a JSON object: in lists, in events, in webhooks and as `?info`. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from loom.model import Info, Outcome, State
from loom.wire.fields import digest_field
from loom.wire.metadata import readable
from loom.wire.times import rfc3339


def encode_row(info: Info) -> str:
    """Return the JSON object on one line, in ASCII. Valid metadata is copied as the producer wrote it."""
    members = {
        "id": info.id,
        "key": info.key,
        "state": info.state,
        "reason": info.reason,
        "outcome": info.outcome,
        "size": info.size,
        "content_type": info.content_type,
        "created": rfc3339(info.created),
        "ended": None if info.ended is None else rfc3339(info.ended),
        "expires": None if info.expires is None else rfc3339(info.expires),
        "deadline": None if info.deadline is None else rfc3339(info.deadline),
        "digest": None if info.digest is None else digest_field(info.digest),
    }
    return f'{json.dumps(members)[:-1]}, "metadata": {readable(info.metadata)}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream, as stored durably when the server responded.

    `size` is in bytes, `key` identifies this creation of the id, `reason` says why an aborted stream is not
    complete. `deadline` is until when a stream waits for a producer. `outcome` is what the job behind a
    complete stream came to, None if the metadata does not say. `row` is the JSON object itself, with the
    members that only newer servers send.
    """

    id: str
    key: str
    state: State
    size: int
    reason: str
    outcome: Outcome | None
    content_type: str
    created: datetime
    ended: datetime | None
    expires: datetime | None
    deadline: datetime | None
    metadata: Any
    row: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a decoded JSON object. Raises LookupError, TypeError or ValueError if it is not a row."""
        return cls(
            id=str(row["id"]),
            key=str(row["key"]),
            state=State(row["state"]),
            size=int(row["size"]),
            reason=str(row["reason"]),
            outcome=Outcome(row["outcome"]) if row.get("outcome") else None,
            content_type=str(row["content_type"]),
            created=datetime.fromisoformat(row["created"]),
            ended=_time(row.get("ended")),
            expires=_time(row.get("expires")),
            deadline=_time(row.get("deadline")),
            metadata=row["metadata"],
            row=row,
        )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
