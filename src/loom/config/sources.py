"""Where a setting comes from (flags > environment > files > defaults), and what is wrong with its value."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loom.config.settings import DURATION, SECRET, SIZE, Settings
from loom.errors import ConfigError
from loom.units import duration_text, size_text

PREFIX = "LOOM_"
NO_TEXT = ("string_type", "list_type", "model_type", "model_attributes_type")
"""Types of pydantic's errors about values that are no text, and no mapping either."""
UNITS = (DURATION, "TIME", duration_text), (SIZE, "SIZE", size_text)
CLIENT_VARIABLES = frozenset({"LOOM_SERVER", "LOOM_TOKEN", "LOOM_PROXY", "LOOM_CLIENT_CONFIG"})
"""Read by the client commands, never by the server."""


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: str
    """Where the value was given, in the words of an error message."""


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def default(name: str) -> str:
    """Return the default of a setting as a user would write it; empty for none."""
    field = Settings.model_fields[name]
    value = field.default
    for mark, _, text in UNITS:
        if mark in field.metadata and value:
            return text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in ([], None) else "0" if value == 0 else str(value)


def metavar(name: str) -> str:
    """Return what stands for the value of a setting in help texts."""
    field = Settings.model_fields[name]
    for mark, word, _ in UNITS:
        if mark in field.metadata:
            return word
    kinds = (field.annotation, *get_args(field.annotation))
    if bool in kinds:
        return "true|false"
    if get_origin(field.annotation) is Literal:
        return "|".join(kinds[1:])
    if get_origin(field.annotation) is list:
        return "A,B,..."
    return "PATH" if Path in kinds else "TEXT" if str in kinds else "NUMBER"


def description(name: str) -> str:
    """Return what a setting means, on one line."""
    return " ".join((Settings.model_fields[name].description or "").split())


def load(files: Sequence[Path], environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Return the settings that files (a later one wins), environment and flags give together.

    A directory stands for its *.yaml and *.yml, in name order. Raises ConfigError with one sentence.
    """
    given: dict[str, _Given] = {}
    for path in _expand(files):
        given |= {name: _Given(value, f"in {path}") for name, value in _read(path).items()}
    given |= {name: _Given(value, "in the environment") for name, value in _from_environment(environ)}
    given |= {name: _Given(value, "on the command line") for name, value in flags.items()}
    try:
        return Settings.model_validate({name: each.value for name, each in given.items()})
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0], given)) from None


def _expand(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            with _readable(path):
                yield from sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
        else:
            yield path


def _read(path: Path) -> dict[str, Any]:
    """Return the keys and values of one YAML file."""
    with _readable(path):
        document = yaml.safe_load(path.read_bytes())
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f'The configuration file {path} does not have the form "setting: value".')
    for key in document:
        if key not in Settings.model_fields:
            raise ConfigError(f"Unknown setting {key!r} in {path}{_hint(str(key), Settings.model_fields)}")
    return document


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Without the parser's own words: they quote the file, which may hold a token. A ValueError is of a
        # date that does not exist, a RecursionError of deep nesting.
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise ConfigError(f"The configuration file {path} is not valid YAML{line}.") from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = {variable(name): name for name in Settings.model_fields}
    for key, value in environ.items():
        if not key.startswith(PREFIX) or key in CLIENT_VARIABLES:
            continue
        if key not in names:
            raise ConfigError(f"Unknown setting {key} in the environment{_hint(key, names)}")
        if not value:
            # A secret that failed to be set must not turn authentication off.
            advice = " Unset it to run without authentication." if names[key] == "tokens" else ""
            raise ConfigError(f"{key} is empty in the environment; unset it or give it a value.{advice}")
        yield names[key], value


def _hint(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _explain(error: ErrorDetails, given: Mapping[str, _Given]) -> str:
    """Return one sentence: which setting, what value, where, what is wrong. Quotes no secret."""
    wrong = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not error["loc"]:
        return wrong  # about several settings
    if error["type"] in NO_TEXT and isinstance(error["input"], bool | int | float | date):
        wrong = "has a value that YAML reads as a number, a date or true; quote it"
    name = str(error["loc"][0])
    value, origin = given[name].value, given[name].origin
    quoted = "" if name in SECRET else f" {json.dumps(value, default=str)}"
    return f"The setting {name} {origin} cannot be{quoted or ' used'}: it {wrong}."
