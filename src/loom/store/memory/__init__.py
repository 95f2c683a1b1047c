"""A store in memory: the simplest implementation of the contract, and the reference for other stores.

    store    the contract: look-ups, and each change as one step
    stream   one key: its producer, its followers and its bytes
    commit   the moment at which queued changes become durable

It loses everything when the process ends.
"""

from loom.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
