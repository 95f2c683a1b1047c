"""What one token may take of the server, beside what the server takes at all. Owns the account of each.

Bytes a day are a bucket that fills steadily: who has rested may send a whole day's bytes at once. A token and
those it signed have one account. Accounts are of this process; a restart fills them.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loom.access.auth import Principal
from loom.errors import QuotaExceeded
from loom.model import Clock

DAY = 86400
Spend = Callable[[int], tuple[int, QuotaExceeded | None]]

SHORT = 10.0
"""Seconds after which a place may be free again."""


@dataclass(slots=True)
class Account:
    """What is taken: bytes of the day as of `at`, and how many producers there are of each stream being
    written, since one that takes over comes before the other has left."""

    at: float
    spent: float = 0.0
    live: Counter[str] = field(default_factory=Counter)


class Quotas:
    """The accounts of all owners of tokens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    @contextmanager
    def producing(self, principal: Principal, id: str) -> Iterator[Spend]:
        """Count a producer of the stream `id` in the block. It asks what it is given, of so many bytes, how
        many it may take, and if not all, why. Raises QuotaExceeded.
        """
        quota = principal.quota
        account = self._accounts.setdefault(principal.owner, Account(self._clock()))
        if 0 < quota.streams_live <= len(account.live) and id not in account.live:
            detail = f"This token may write {quota.streams_live} streams at once, and does."
            raise QuotaExceeded(detail, SHORT)
        account.live[id] += 1
        try:
            yield lambda size: self._spend(account, size, quota.bytes_per_day)
        finally:
            account.live[id] -= 1
            account.live += Counter()  # without those of none

    def _spend(self, account: Account, size: int, bytes_per_day: int) -> tuple[int, QuotaExceeded | None]:
        if not bytes_per_day:
            return size, None
        now, rate = self._clock(), bytes_per_day / DAY
        account.spent = max(0.0, account.spent - (now - account.at) * rate)
        account.at = now
        granted = min(size, int(bytes_per_day - account.spent))
        account.spent += granted
        if granted == size:
            return size, None
        detail = f"This token may send {bytes_per_day} bytes a day, and has."
        return granted, QuotaExceeded(detail, math.ceil((size - granted) / rate))
