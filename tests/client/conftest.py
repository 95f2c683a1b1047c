from collections.abc import AsyncIterator

import pytest
from tests.network.conftest import between
from tests.support.program import Listener
from tests.support.running import Loom

from loom.client import AsyncClient
from loom.client.session import Session, Timeouts

__all__ = ["between"]

QUICK = Timeouts(connect=5, answer=5, read=5, patience=5)


@pytest.fixture
def store_kind() -> str:
    """Use one store: clients see no difference between stores."""
    return "memory"


@pytest.fixture
async def session(listener: Listener) -> AsyncIterator[Session]:
    async with Session(listener.url, token="t0", timeouts=QUICK) as session:
        yield session


@pytest.fixture
async def client(loom: Loom) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(loom.url, timeouts=QUICK) as client:
        yield client
