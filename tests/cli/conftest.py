from collections.abc import AsyncIterator

import pytest
from tests.support.program import Listener


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.open()
    yield listener
    await listener.close()
