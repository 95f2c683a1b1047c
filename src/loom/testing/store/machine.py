"""What the model tests share: a store in a directory and a loop of its own, driven by Hypothesis."""

import asyncio
import functools
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from loom.store.base import Store
from loom.testing.store.fixtures import StoreFixtures
from loom.testing.tools import ManualClock


def on_loop(step: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a step on the loop of the store: Hypothesis calls plain functions."""

    @functools.wraps(step)
    def run(self: "StoreMachine", **drawn: Any) -> None:
        self.runner.run(step(self, **drawn))

    return run


class StoreMachine(RuleBasedStateMachine):
    """A new store for each run; a subclass has the rules and the model."""

    tests: StoreFixtures
    """The test class, which knows how the store is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "data"
        self.opener = functools.partial(self.tests.open_store, path, ManualClock())
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.store: Store = self.runner.run(self.opener())

    async def close_store(self) -> None:
        """Close the store."""
        await self.store.close()

    def teardown(self) -> None:
        self.runner.run(self.close_store())
        self.runner.close()
        self.directory.cleanup()


def run_machine(machine: type[StoreMachine], tests: StoreFixtures, examples: int) -> None:
    """Run the machine on the store of `tests`, so many times."""
    run_state_machine_as_test(
        type("Run", (machine,), {"tests": tests}),
        settings=settings(max_examples=examples, stateful_step_count=30, deadline=None),
    )
