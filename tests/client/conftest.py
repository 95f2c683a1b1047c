from collections.abc import AsyncIterator

import pytest
from tests.cli.program import Listener

from loom.client.session import Session, Timeouts

QUICK = Timeouts(connect=5, answer=5, read=5, patience=5)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.open()
    yield listener
    await listener.close()


@pytest.fixture
async def session(listener: Listener) -> AsyncIterator[Session]:
    async with Session(listener.url, token="t0", timeouts=QUICK) as session:
        yield session
