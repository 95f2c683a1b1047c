"""Limits on wrong tokens and on requests, on a clock of the test."""

import pytest

from loom.access.auth import Auth, Grant, Principal
from loom.access.throttle import GUESSES, MOST, Admission, Bucket
from loom.errors import Throttled, Unauthorized
from loom.testing.tools import ManualClock

RIGHT, WRONG = b"Bearer right-token-of-the-test", b"Bearer wrong"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def admission(clock: ManualClock) -> Admission:
    return Admission(Auth([Grant.of("right-token-of-the-test"), Grant.of("another-token")]), clock)


def test_a_bucket_takes_a_burst_then_as_much_as_its_rate(clock: ManualClock):
    bucket = Bucket(2.0, 3, clock)
    for wait in (0, 0, 0, 0.5):
        assert bucket.wait("a") == wait
        if not wait:
            bucket.count("a")
    assert bucket.wait("b") == 0
    clock.time += 0.5
    assert bucket.wait("a") == 0
    bucket.count("a")
    assert bucket.wait("a") == 0.5
    clock.time += 100
    for _ in range(3):
        assert bucket.wait("a") == 0
        bucket.count("a")
    assert bucket.wait("a") == 0.5


def test_a_bucket_without_a_rate_is_no_limit(clock: ManualClock):
    bucket = Bucket(0.0, 1, clock)
    for _ in range(100):
        assert bucket.wait("a") == 0
        bucket.count("a")
    assert len(bucket) == 0


def test_a_bucket_forgets_clients_that_may_do_everything_again_and_is_bounded(clock: ManualClock):
    bucket = Bucket(1.0, 1, clock)
    for number in range(MOST + 100):
        bucket.count(str(number))
    assert len(bucket) == MOST
    clock.time += 10
    for number in range(100):
        bucket.count(str(number))
    assert len(bucket) == 100


def fail(admission: Admission, address: str, times: int, token: bytes = WRONG) -> None:
    for _ in range(times):
        with pytest.raises(Unauthorized):
            admission.principal(address, token)


def test_wrong_tokens_of_an_address_are_refused_without_a_look_at_them(
    admission: Admission, clock: ManualClock
):
    fail(admission, "192.0.2.1", GUESSES)
    with pytest.raises(Throttled) as error:
        admission.principal("192.0.2.1", WRONG)
    assert error.value.retry_after == 6
    with pytest.raises(Throttled):
        admission.principal("192.0.2.1", RIGHT)
    assert admission.principal("192.0.2.2", RIGHT) == Grant.of("right-token-of-the-test").principal
    clock.time += 6
    assert admission.principal("192.0.2.1", RIGHT)


def test_a_token_that_was_right_before_is_not_throttled(admission: Admission):
    admission.principal("192.0.2.1", RIGHT)
    fail(admission, "192.0.2.1", GUESSES)
    assert admission.principal("192.0.2.1", RIGHT)
    with pytest.raises(Throttled):
        admission.principal("192.0.2.1", b"Bearer another-token")
    admission._auth.load([Grant.of("another-token")])
    fail(admission, "192.0.2.1", 1, RIGHT)
    with pytest.raises(Throttled):
        admission.principal("192.0.2.1", RIGHT)


def test_missing_and_expired_tokens_are_no_guesses(clock: ManualClock):
    expired = Grant.to(Grant.of("old").digest, Principal(expires=1.0))
    admission = Admission(Auth([expired]), clock)
    fail(admission, "192.0.2.1", 3 * GUESSES, b"")
    fail(admission, "192.0.2.1", 3 * GUESSES, b"Basic eDp5")
    fail(admission, "192.0.2.1", 3 * GUESSES, b"Bearer old")
    fail(admission, "192.0.2.1", 1)


def test_what_is_remembered_of_right_tokens_is_bounded(admission: Admission):
    for number in range(MOST + 100):
        admission.principal(str(number), RIGHT)
    assert len(admission._proven) == MOST


def test_requests_of_a_token_and_of_an_address_are_limited(clock: ManualClock):
    admission = Admission(Auth([Grant.of("right-token-of-the-test")]), clock, rate=0.5)
    for number in range(5):
        admission.principal(str(number), RIGHT)
        admission.check_address("192.0.2.1")
    with pytest.raises(Throttled) as error:
        admission.principal("new", RIGHT)
    assert error.value.retry_after == 2
    with pytest.raises(Throttled):
        admission.check_address("192.0.2.1")
    admission.check_address("192.0.2.2")
