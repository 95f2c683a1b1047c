"""The quotas of tokens: streams kept and written at once, creations a minute, and bytes a day. Private.

Bytes and creations are token buckets: a token that has sent nothing for a day may send a day's bytes at once.
A token and the tokens signed for it share an account. Accounts live in memory; a restart refills them. The
streams that a token keeps are counted by the store, so a restart does not change them.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from loom.access.auth import Principal
from loom.errors import LoomError, QuotaExceeded
from loom.model import Clock

MINUTE = 60
DAY = 86400
Spend = Callable[[int], tuple[int, LoomError | None]]

RETRY_AFTER = 10.0
"""Seconds after which one of the token's streams may have ended."""


class Owners(Protocol):
    """The streams that are stored, by who created them."""

    def owned(self, owner: str) -> int:
        """Return how many streams this owner created."""

    def open_or(self, ids: Iterable[str], owner: str) -> int:
        """Return how many streams of this owner are open, or have one of these ids."""


@dataclass(slots=True)
class Allowance:
    """What was used as of `at`. It empties within `period` seconds."""

    period: float
    at: float
    used: float = 0.0

    def take(self, size: int, most: int, now: float) -> int:
        """Use up to `size` and return how much: as far as `most` permits."""
        self.used = max(0.0, self.used - (now - self.at) * most / self.period)
        self.at = now
        granted = max(0, min(size, int(most - self.used)))
        self.used += granted
        return granted

    def wait(self, size: int, most: int) -> int:
        """Return the seconds until `size` more can be used, at least 1."""
        return max(1, math.ceil((self.used + size - most) * self.period / most))


@dataclass(slots=True)
class Account:
    """What a token has used, and its producers by the stream they write.

    A stream has two producers for a moment when one takes over from the other.
    """

    sent: Allowance
    created: Allowance
    live: Counter[str] = field(default_factory=Counter)


class Quotas:
    """The accounts of all tokens of the settings, by owner."""

    def __init__(self, owners: Owners, clock: Clock) -> None:
        self._owners = owners
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    @contextmanager
    def producing(self, principal: Principal, id: str) -> Iterator[Spend]:
        """Count a producer of the stream `id` for the length of the block. Raises QuotaExceeded.

        Yields a function that takes a number of bytes and returns how many of them the producer may send, and
        an error if that is not all of them.
        """
        most = principal.quota.streams_live
        account = self._account(principal)
        if most:
            # Another producer of a stream that counts already adds none.
            live = self._owners.open_or(account.live, principal.owner)
            if live >= most and self._owners.open_or({*account.live, id}, principal.owner) > live:
                detail = f"This token may have {most} live or open streams at once, and already does."
                raise QuotaExceeded(f"{detail} End one of them first.", RETRY_AFTER)
        account.live[id] += 1
        try:
            yield lambda size: self._spend(account, size, principal.quota.bytes_per_day)
        finally:
            account.live[id] -= 1
            account.live += Counter()  # drops streams without producers

    def check(self, principal: Principal) -> None:
        """Raise QuotaExceeded if the token may not send another byte."""
        self.charge(principal, 1)
        self._account(principal).sent.used -= 1 if principal.quota.bytes_per_day else 0

    def charge_creation(self, principal: Principal, size: int, *, replaced: str | None) -> None:
        """Charge for a creation, and for the `size` bytes that a stream counts for besides its bytes.

        `replaced` is the owner of the stream that it replaces. Raises QuotaExceeded, charging nothing.
        """
        quota, account, now = principal.quota, self._account(principal), self._clock()
        added = 0 if replaced == principal.owner else 1
        if 0 < quota.streams < self._owners.owned(principal.owner) + added:
            detail = f"This token may keep {quota.streams} streams, and already does."
            raise QuotaExceeded(f"{detail} Delete some of them first, or let them expire.")
        most = quota.creations_per_minute
        if most and not account.created.take(1, most, now):
            detail = f"This token may create {most} streams a minute, and already did. Retry later."
            raise QuotaExceeded(detail, account.created.wait(1, most))
        try:
            self.charge(principal, size)
        except QuotaExceeded:
            account.created.used -= 1 if most else 0
            raise

    def charge(self, principal: Principal, size: int) -> None:
        """Charge for `size` bytes that are not part of a stream. Raises QuotaExceeded, charging nothing."""
        account = self._account(principal)
        granted, exceeded = self._spend(account, size, principal.quota.bytes_per_day)
        if exceeded is not None:
            account.sent.used -= granted
            raise exceeded

    def _account(self, principal: Principal) -> Account:
        account = self._accounts.get(principal.owner)
        if account is None:
            now = self._clock()
            account = Account(Allowance(DAY, now), Allowance(MINUTE, now))
            self._accounts[principal.owner] = account
        return account

    def _spend(self, account: Account, size: int, most: int) -> tuple[int, QuotaExceeded | None]:
        if not most:
            return size, None
        granted = account.sent.take(size, most, self._clock())
        if granted == size:
            return size, None
        detail = f"This token may send {most} bytes a day and has sent them. Retry later."
        return granted, QuotaExceeded(detail, account.sent.wait(size - granted, most))
