"""Limits on requests: wrong tokens of an address, and requests of an address and of a token. Private.

Each limit is a token bucket, kept as one number for each client and forgotten once the bucket is full again.
Does no I/O, and knows no HTTP but the Authorization header.
"""

import hashlib
import math
from collections import OrderedDict

from loom.access.auth import Auth, Principal
from loom.errors import Throttled, Unauthorized
from loom.model import Clock

MOST = 20_000
"""Clients that each limit remembers. Above it the one that was heard of the longest ago is forgotten."""

GUESSES = 10
"""Wrong tokens that an address may send at once."""
GUESSES_A_SECOND = 1 / 6
"""How soon it may send more."""
BURST_SECONDS = 10
"""A client that has sent no request for so long may send as many at once as it may in this time."""


class Bucket:
    """Lets each client do something `rate` times a second, and `burst` times at once. Rate 0: no limit."""

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._depth = burst * self._interval
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when a client's bucket is full again

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, client: str) -> float:
        """Return the seconds until the client may do it, 0 if it may now."""
        full_at = self._full_at.get(client, 0.0)
        return max(0.0, full_at + self._interval - self._depth - self._clock())

    def count(self, client: str) -> None:
        """Note that the client did it."""
        if not self._interval:
            return
        now = self._clock()
        self._full_at[client] = max(self._full_at.pop(client, now), now) + self._interval
        # The client of this call stays: its bucket is not full.
        while self._full_at[oldest := next(iter(self._full_at))] <= now or len(self._full_at) > MOST:
            del self._full_at[oldest]


class Admission:
    """Admits requests by their tokens, within the limits. `rate` is in requests a second; 0: no limit."""

    def __init__(self, auth: Auth, clock: Clock, *, rate: float = 0.0) -> None:
        self._auth = auth
        self._guesses = Bucket(GUESSES_A_SECOND, GUESSES, clock)
        burst = max(1.0, rate * BURST_SECONDS)
        self._addresses = Bucket(rate, burst, clock)
        self._tokens = Bucket(rate, burst, clock)
        self._proven: OrderedDict[bytes, None] = OrderedDict()  # addresses with tokens they sent rightly

    def check_address(self, address: str) -> None:
        """Count a request of an address. Raises Throttled."""
        _take(self._addresses, address, "This address sends too many requests.")

    def principal(self, address: str, authorization: bytes) -> Principal:
        """Return the holder of the token in this Authorization header. Raises Unauthorized, Throttled.

        From an address that sends wrong tokens, only a token is looked at that was right there before: the
        others at a shared address can work, and a guess finds nothing out.
        """
        if not (authorization and self._auth.required):
            return self._auth.principal(authorization)
        proof = hashlib.sha256(address.encode() + b"\0" + authorization).digest()
        wait = self._guesses.wait(address)
        if wait and proof not in self._proven:
            raise Throttled("This address sent too many wrong tokens.", math.ceil(wait))
        try:
            principal = self._auth.principal(authorization)
        except Unauthorized as error:
            self._proven.pop(proof, None)
            if error.wrong:
                self._guesses.count(address)
            raise
        self._proven[proof] = None
        self._proven.move_to_end(proof)
        if len(self._proven) > MOST:
            self._proven.popitem(last=False)
        _take(self._tokens, principal.owner, "This token is used for too many requests.")
        return principal


def _take(bucket: Bucket, client: str, detail: str) -> None:
    if wait := bucket.wait(client):
        raise Throttled(f"{detail} Retry later.", math.ceil(wait))
    bucket.count(client)
