"""Compile patterns with RE2, and explain those that it refuses. Loaded by workers only."""

from functools import lru_cache
from typing import Any

import re2

MAX_MEMORY = 32 << 20
"""Bytes of one compiled pattern with the states that a search adds. With less, RE2 falls back more often to
its slower ways to search."""
MAX_PROGRAM = 10_000
"""Instructions of a compiled pattern. The slowest way to search takes a time proportional to them."""

_ADVICE = {
    "invalid escape sequence": "it has an escape sequence that RE2 does not know, such as a back-reference",
    "invalid perl operator": "it has a group that RE2 does not know, such as a look-around",
    "invalid character class range": "it has a range of characters whose end is before its start",
    "invalid character class": "it has a class of characters that RE2 does not know",
    "missing ]": "a class of characters has no closing bracket",
    "missing )": "a group has no closing parenthesis",
    "unexpected )": "it has a closing parenthesis without a group",
    "trailing \\": "it ends with a backslash",
    "no argument for repetition operator": "it repeats nothing; to find one of *+? write \\ before it",
    "invalid repetition size": "it repeats something too often",
    "bad repetition operator": "it repeats a repetition",
    "invalid UTF-8": "it is not UTF-8",
    "invalid named capture group": "it has a group with an invalid name",
    "pattern too large": "it is too large",
}
"""What is wrong with a pattern, by the beginning of RE2's error."""


class InvalidPattern(ValueError):
    """RE2 cannot search for the pattern; the text says why."""


@lru_cache(4)
def compile_pattern(pattern: str, ignore_case: bool) -> Any:
    """Compile a pattern to search lines with. Raises InvalidPattern."""
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.case_sensitive = not ignore_case
    options.never_nl = True  # no match spans lines
    options.log_errors = False
    try:
        # Compiled by itself, so that an unbalanced parenthesis is not closed by the group below.
        re2.compile(pattern, options)
        compiled = re2.compile(f"(?m)(?:{pattern})", options)
    except UnicodeEncodeError:
        raise InvalidPattern(_ADVICE["invalid UTF-8"]) from None
    except re2.error as error:
        raise InvalidPattern(_explained(error.args[0].decode(errors="replace"))) from None
    finally:
        re2.purge()  # its cache would keep a hundred patterns in memory
    if compiled.programsize > MAX_PROGRAM:
        raise InvalidPattern("it is too large")
    return compiled


def _explained(error: str) -> str:
    """Return what is wrong with a pattern, in words of our own."""
    found = next((advice for begin, advice in _ADVICE.items() if error.startswith(begin)), None)
    return found or "RE2 cannot read it"
