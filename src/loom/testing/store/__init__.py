"""The contract of a store as tests. A store passes when a subclass of one of these classes passes.

Write a test module with one class, and run it with pytest:

    from loom.testing.store import StoreTests
    from my_package import MyStore

    class TestMyStore(StoreTests):
        async def open_store(self, path, clock, *, writer_bound=4 << 20, total_bound=64 << 20):
            return await MyStore.open(path, clock, writer_bound, total_bound)

pytest-asyncio has to be in auto mode (`asyncio_mode = "auto"`). A store that survives the end of its process
subclasses DurableStoreTests, which opens the same path again. A store that needs more than a path, a database
server say, gets it from an autouse fixture of the class.
"""

from loom.testing.store.append import AppendTests, DurableAppendTests
from loom.testing.store.change import ChangeTests
from loom.testing.store.content import ContentTests
from loom.testing.store.create import CreateTests
from loom.testing.store.delete import DeleteTests
from loom.testing.store.expiry import DurableExpiryTests, ExpiryTests
from loom.testing.store.find import FindTests
from loom.testing.store.fixtures import Opener, Reopening, StoreFixtures
from loom.testing.store.follow import FollowTests
from loom.testing.store.model import ModelTests
from loom.testing.store.places import DurablePlacesTests, PlacesTests
from loom.testing.store.put import DurablePutTests, PutTests
from loom.testing.store.reopen import ReopenTests
from loom.testing.store.shared_model import SharedModelTests
from loom.testing.store.stop import StopTests
from loom.testing.store.takeover import TakeoverTests
from loom.testing.store.usage import DurableUsageTests, UsageTests
from loom.testing.store.watch import WatchTests
from loom.testing.store.writer import WriterTests

__all__ = ["DurableStoreTests", "Opener", "Reopening", "StoreTests"]


class StoreTests(
    CreateTests,
    PutTests,
    AppendTests,
    TakeoverTests,
    WriterTests,
    ChangeTests,
    DeleteTests,
    ContentTests,
    FindTests,
    FollowTests,
    WatchTests,
    ExpiryTests,
    PlacesTests,
    UsageTests,
    StopTests,
    ModelTests,
    SharedModelTests,
    StoreFixtures,
):
    """What every store promises."""


class DurableStoreTests(
    StoreTests,
    ReopenTests,
    DurablePutTests,
    DurableAppendTests,
    DurableExpiryTests,
    DurablePlacesTests,
    DurableUsageTests,
):
    """What a store promises besides if it survives the end of its process."""

    survives_restart = True
