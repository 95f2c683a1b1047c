from loom.access.auth import Principal, Quota
from loom.access.quotas import DAY, Quotas


def test_an_account_refills_over_time():
    now = [0.0]
    principal = Principal(quota=Quota(bytes_per_day=100))
    with Quotas(lambda: now[0]).producing(principal, "s") as spend:
        assert spend(90) == (90, None)
        granted, exceeded = spend(35)
        assert granted == 10
        assert exceeded is not None
        assert exceeded.retry_after == DAY / 4
        now[0] += DAY / 4
        assert spend(25) == (25, None)
        assert spend(1)[0] == 0
