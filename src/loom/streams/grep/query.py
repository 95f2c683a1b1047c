"""What a search looks for. Pure."""

from dataclasses import dataclass

from loom.streams.ranges import MAX

MAX_PATTERN = 4096
MAX_CONTEXT = 100
"""Lines before and after each match."""


@dataclass(frozen=True, slots=True)
class Query:
    """A pattern in RE2's syntax, and what to show: lines around each match, and at most `limit` matches."""

    pattern: str
    ignore_case: bool = False
    before: int = 0
    after: int = 0
    limit: int = MAX
