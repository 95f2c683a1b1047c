"""A store in memory: the contract in its plainest form, which other stores are compared with.

    store    the contract: look-ups, and every change as one step
    stream   one key, its producer, its followers and its bytes
    commit   the moment in which what was asked for becomes durable

It forgets everything with the process.
"""

from loom.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
