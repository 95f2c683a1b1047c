"""Tests that a program outside this repository can run against its own implementation of an interface.

    store    the contract of a store (`loom.store.base`) as classes of tests
    tools    a clock set by hand, recorders of callbacks, and short calls that tests of stores share

Imported only by tests: it needs pytest, pytest-asyncio and Hypothesis (`pip install loom-streams[testing]`).
"""

import pytest

# Without this, a failed assertion of the suite would show no values.
pytest.register_assert_rewrite("loom.testing.store", "loom.testing.tools")
