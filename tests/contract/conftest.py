import pytest

from loom.testing.tools import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
