"""The quotas of tokens: streams that one writes at once, and bytes that it sends a day. Private.

Bytes a day are a token bucket: a producer that has sent nothing for a day may send a day's bytes at once. A
token and the tokens signed for it share an account. Accounts live in memory; a restart refills them.
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

RETRY_AFTER = 10.0
"""Seconds after which one of the token's streams may have ended."""


@dataclass(slots=True)
class Account:
    """What a token has used: bytes of the day as of `at`, and producers by the stream they write.

    A stream has two producers for a moment when one takes over from the other.
    """

    at: float
    spent: float = 0.0
    live: Counter[str] = field(default_factory=Counter)


class Quotas:
    """The accounts of all tokens of the settings, by owner."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    @contextmanager
    def producing(self, principal: Principal, id: str) -> Iterator[Spend]:
        """Count a producer of the stream `id` for the length of the block. Raises QuotaExceeded.

        Yields a function that takes a number of bytes and returns how many of them the producer may send, and
        an error if that is not all of them.
        """
        quota, account = principal.quota, self._account(principal)
        if 0 < quota.streams_live <= len(account.live) and id not in account.live:
            detail = f"This token may write {quota.streams_live} streams at once, and already does."
            raise QuotaExceeded(detail, RETRY_AFTER)
        account.live[id] += 1
        try:
            yield lambda size: self._spend(account, size, quota.bytes_per_day)
        finally:
            account.live[id] -= 1
            account.live += Counter()  # drops streams without producers

    def check(self, principal: Principal) -> None:
        """Raise QuotaExceeded if the token may not send another byte."""
        account = self._account(principal)
        size, exceeded = self._spend(account, 1, principal.quota.bytes_per_day)
        account.spent -= size
        if exceeded is not None:
            raise exceeded

    def _account(self, principal: Principal) -> Account:
        return self._accounts.setdefault(principal.owner, Account(self._clock()))

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
        detail = f"This token may send {bytes_per_day} bytes a day and has sent them."
        return granted, QuotaExceeded(detail, math.ceil((size - granted) / rate))
