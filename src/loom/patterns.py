"""Compile expressions with RE2 to search lines with, and explain those that it refuses. Pure.

RE2 takes a time linear in the text, whatever the expression is.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

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

_WHOLE_TEXT = re.compile(r"(?<!\\)(?:\\\\)*(\\[Az]|\(\?[a-zA-Z]*-[a-zA-Z]*m)")
"""What means the beginning or the end of all bytes, which a line does not have."""


class InvalidPattern(ValueError):
    """RE2 cannot search for the pattern; the text says why."""


@lru_cache(4)
def compile_pattern(pattern: str, ignore_case: bool) -> Any:
    """Compile a pattern to search text with. Raises InvalidPattern."""
    compiled = _compile(pattern, ignore_case=ignore_case)
    if compiled.programsize > MAX_PROGRAM:
        raise InvalidPattern("it is too large")
    return compiled


def check_pattern(pattern: str) -> None:
    """Raise InvalidPattern for a pattern that cannot be used in `compile_all`."""
    if _WHOLE_TEXT.search(pattern):
        raise InvalidPattern("it has the beginning or end of the whole text; ^ and $ mean those of a line")
    if compile_pattern(pattern, ignore_case=False).search("") is not None:
        raise InvalidPattern("it matches an empty text")


def compile_all(patterns: Sequence[str]) -> Any:
    """Compile checked patterns into one for bytes, whose matches are the longest. Raises InvalidPattern."""
    return _compile("|".join(f"(?:{pattern})" for pattern in patterns).encode(), longest=True)


def _compile(pattern: str | bytes, *, ignore_case: bool = False, longest: bool = False) -> Any:
    # Loaded where it is used: a server without patterns starts sooner.
    import re2

    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.case_sensitive = not ignore_case
    options.never_nl = True  # no match spans lines
    options.longest_match = longest
    options.log_errors = False
    group = "(?m)(?:%s)" if isinstance(pattern, str) else b"(?m)(?:%s)"
    try:
        # Compiled by itself, so that an unbalanced parenthesis is not closed by the group below.
        re2.compile(pattern, options)
        return re2.compile(group % pattern, options)
    except UnicodeEncodeError:
        raise InvalidPattern(_ADVICE["invalid UTF-8"]) from None
    except re2.error as error:
        raise InvalidPattern(_explained(error.args[0].decode(errors="replace"))) from None
    finally:
        re2.purge()  # its cache would keep a hundred patterns in memory


def _explained(error: str) -> str:
    """Return what is wrong with a pattern, in words of our own."""
    found = next((advice for begin, advice in _ADVICE.items() if error.startswith(begin)), None)
    return found or "RE2 cannot read it"
