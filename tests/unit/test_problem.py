"""The table of problems: every error that a request may meet has a status."""

from collections.abc import Iterator

from loom.errors import Busy, ConfigError, LoomError
from loom.http.problem import ROWS, row_of


def errors(root: type[LoomError] = LoomError) -> Iterator[type[LoomError]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__ == root.__module__:  # leaves out those of the client
            yield from errors(each)


def test_every_error_that_a_request_may_meet_has_a_row():
    assert set(ROWS) == set(errors()) - {ConfigError}


def test_an_error_from_elsewhere_has_the_row_of_its_nearest_base():
    class Elsewhere(Busy):
        pass

    assert row_of(Elsewhere) is ROWS[Busy]
    assert row_of(ConfigError) is ROWS[LoomError]
