import pytest

from loom.access.auth import Principal, Quota
from loom.access.quotas import DAY, Quotas
from loom.errors import QuotaExceeded
from loom.store.holdings import Holdings


def test_an_account_refills_over_time():
    now = [0.0]
    principal = Principal(quota=Quota(bytes_per_day=100))
    with Quotas(Holdings(find=lambda id: None), lambda: now[0]).producing(principal, "s") as spend:
        assert spend(90) == (90, None)
        granted, exceeded = spend(35)
        assert granted == 10
        assert exceeded is not None
        assert exceeded.retry_after == DAY / 4
        now[0] += DAY / 4
        assert spend(25) == (25, None)
        assert spend(1)[0] == 0


def test_creations_a_minute_refill_and_a_refused_one_costs_nothing():
    now = [0.0]
    principal = Principal(quota=Quota(creations_per_minute=3, bytes_per_day=10_000))
    quotas = Quotas(Holdings(find=lambda id: None), lambda: now[0])
    with pytest.raises(QuotaExceeded):
        quotas.charge_creation(principal, 20_000, replaced=None)
    for _ in range(3):
        quotas.charge_creation(principal, 1000, replaced=None)
    with pytest.raises(QuotaExceeded, match="3 streams a minute") as refused:
        quotas.charge_creation(principal, 1000, replaced=None)
    assert refused.value.retry_after == 20
    now[0] += 20
    quotas.charge_creation(principal, 7000, replaced=None)
    now[0] += 60
    with pytest.raises(QuotaExceeded, match="10000 bytes a day"):
        quotas.charge(principal, 100)
