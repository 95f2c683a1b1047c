"""The stream ids that a token covers. Pure, private.

A prefix ends at the border of a segment: `build` means `build` and `build/...`, `build/` means `build/...`
only, and `build-*` means every id that begins with `build-`. The empty prefix means every id.
"""

from dataclasses import dataclass

WILDCARD, SEPARATOR = "*", "/"


@dataclass(frozen=True, slots=True)
class Ids:
    """The id `exact`, and every id that begins with `start`; None: no such ids."""

    exact: str | None = None
    start: str | None = None

    @classmethod
    def of_prefix(cls, prefix: str) -> "Ids":
        """Return the ids that a prefix means."""
        if prefix.endswith(WILDCARD):
            return cls(start=prefix.removesuffix(WILDCARD))
        if not prefix or prefix.endswith(SEPARATOR):
            return cls(start=prefix)
        return cls(prefix, prefix + SEPARATOR)

    @property
    def prefix(self) -> str | None:
        """The prefix that means these ids; None if they are a single one, or none."""
        if self.start is None or self.exact is not None:
            return None if self.start is None else self.exact
        return self.start + ("" if self.start[-1:] in ("", SEPARATOR) else WILDCARD)

    def __contains__(self, id: str) -> bool:
        return id == self.exact or (self.start is not None and id.startswith(self.start))

    def __bool__(self) -> bool:
        return self.exact is not None or self.start is not None

    def contains_all(self, start: str) -> bool:
        """Return True if every id that begins with `start` is among these."""
        return self.start is not None and start.startswith(self.start)

    def __and__(self, other: "Ids") -> "Ids":
        exact = [each for each in (self.exact, other.exact) if each is not None]
        both = next((id for id in exact if id in self and id in other), None)
        return Ids(both, None if other.start is None else self._from(other.start))

    def within(self, start: str) -> str | None:
        """Return a start of all those ids that begin with `start`, for a search; None if there are none."""
        exact = self.exact is not None and self.exact.startswith(start)
        return self.exact if exact else self._from(start)

    def _from(self, start: str) -> str | None:
        if self.start is None:
            return None
        longer = max(self.start, start, key=len)
        return longer if longer.startswith(self.start) and longer.startswith(start) else None


ALL_IDS = Ids(start="")
