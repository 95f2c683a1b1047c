"""YAML files of settings: mappings that know their lines.

Errors are in our words. They name file, line and key, and quote no value: it may be a token.
"""

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loom.errors import ConfigError

FAULTS = (
    ("'\\t' that cannot start", "a tab; indent with spaces"),
    ("that cannot start any token", "a character that text may begin with only in quotes"),
    ("mapping values are not allowed", "a colon too many or a wrong indentation; quote text with a colon"),
    ("could not find expected ':'", "a key without a colon, or a quote that is not closed"),
    ("expected <block end>", "a wrong indentation, or text after a closing quote"),
    ("expected ','", "a bracket that is not closed, or a missing comma"),
    ("expected the node content", "a bracket that is not closed, or a missing comma"),
    ("end of stream", "a quote or bracket that is not closed"),
    ("undefined alias", "text that begins with *; quote it"),
    ("constructor for the tag", "text that begins with !; quote it"),
    ("out of range", "a date or time that does not exist; quote it if it is text"),
    ("recursion", "too many levels"),
)
"""What the parser says, in part, and what is probably wrong."""


@dataclass(frozen=True, slots=True)
class Document:
    """The settings of one file."""

    path: Path
    values: dict[str, Any]
    root: yaml.Node | None = field(default=None, repr=False)

    def where(self, keys: Sequence[str | int]) -> str:
        """Return line and file of the value at `keys`, or of what encloses it."""
        node, line = self.root, 0
        for key in keys:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line
                continue
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            found = [pair for pair in pairs if pair[0].value == key]
            if not found:
                break
            line, node = found[-1][0].start_mark.line, found[-1][1]
        return f"in line {line + 1} of {self.path}"


def read_document(path: Path, known: Collection[str]) -> Document:
    """Read a file with the settings `known`. Raises ConfigError."""
    try:
        loader = yaml.SafeLoader(path.read_bytes())
        root = loader.get_single_node()
        values = None if root is None else loader.construct_document(root)
    except OSError as error:
        raise ConfigError(f"The file {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"Line {mark.line + 1} of the file" if mark else "The file"
        hint = next((f": probably {words}" for part, words in FAULTS if part in str(error)), "")
        raise ConfigError(f"{line} {path} is not valid YAML{hint}.") from None
    if values is None:
        return Document(path, {})
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f'The file {path} does not have the form "setting: value".')
    document = Document(path, values, root)
    names = [key.value for key, _ in root.value]
    for name in names:
        if name not in known:
            raise ConfigError(f"Unknown setting {name!r} {document.where([name])}{hint_at(name, known)}")
        if names.count(name) > 1:
            raise ConfigError(f"The setting {name} is given twice; the second is {document.where([name])}.")
    return document


def hint_at(wrong: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, or all of a few."""
    known = list(known)
    if near := difflib.get_close_matches(wrong, known, n=1):
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known)}." if len(known) < 12 else "."
