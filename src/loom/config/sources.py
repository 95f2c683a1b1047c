"""Where a setting comes from (flags > environment > files > defaults), and what is wrong with its value."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loom.config.entries import DURATION, SIZE, Redact, TokenEntry, Webhook
from loom.config.settings import SECRET, Settings
from loom.documents import hint_at, read_document
from loom.errors import ConfigError
from loom.units import duration_text, size_text

PREFIX = "LOOM_"
NO_TEXT = ("string_type", "list_type", "model_type", "model_attributes_type")
"""Types of pydantic's errors about values that are no text, and no mapping either."""
UNITS = (DURATION, "TIME", duration_text), (SIZE, "SIZE", size_text)
CLIENT_VARIABLES = frozenset({"LOOM_SERVER", "LOOM_TOKEN", "LOOM_PROXY", "LOOM_CLIENT_CONFIG"})
"""Read by the client commands, never by the server."""


FAULTS = {
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "greater": "must be at least {ge}",
    "less": "must be at most {le}",
    "literal": "must be {expected}",
    "too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "string": "must be text",
    "list": "must be a list",
    "set": "must be a list",
    "model": "must be text or a mapping",
    "path": "must be a path",
    "time": "must be a time with its offset from UTC, as 2026-12-31T12:00:00Z",
    "date": "must be a time with its offset from UTC, as 2026-12-31T12:00:00Z",
}
"""By a part of the type of pydantic's error, the first that matches: what is wrong."""
FORMS = {"sha256": "must be 64 hexadecimal digits", "url": "must be a URL such as https://example.com/hook"}
PARTS: dict[str, type[TokenEntry | Webhook | Redact]] = {
    "tokens": TokenEntry,
    "webhooks": Webhook,
    "redact": Redact,
}
"""Settings that are lists of mappings."""


SERVICE_LINK = re.compile(r"LOOM_(SERVICE_\w+|PORT_\d+_\w+|PORT=\w+:/).*", re.DOTALL)
"""Variables that Kubernetes sets in every pod beside a Service named loom, with their values."""


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    where: Callable[[Sequence[str | int]], str]
    """Return where a part of the value was given, in the words of an error message."""


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
        document = read_document(path, Settings.model_fields)
        given |= {name: _Given(value, document.where) for name, value in document.values.items()}
    variables = _from_environment(environ)
    given |= {name: _Given(value, lambda _: "in the environment") for name, value in variables}
    given |= {name: _Given(value, lambda _: "on the command line") for name, value in flags.items()}
    try:
        return Settings.model_validate({name: each.value for name, each in given.items()})
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0], given)) from None


def _expand(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            try:
                yield from sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
            except OSError as error:
                raise ConfigError(f"The directory {path} cannot be read: {error.strerror}.") from None
        else:
            yield path


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = {variable(name): name for name in Settings.model_fields}
    for key, value in environ.items():
        if not key.startswith(PREFIX) or key in CLIENT_VARIABLES or SERVICE_LINK.fullmatch(f"{key}={value}"):
            continue
        if key not in names:
            raise ConfigError(
                f"Unknown setting {key} in the environment{hint_at(key, [*names, *CLIENT_VARIABLES])}"
            )
        if not value:
            # A secret that failed to be set must not turn authentication off.
            advice = " Unset it to run without authentication." if names[key] == "tokens" else ""
            raise ConfigError(f"{key} is empty in the environment; unset it or give it a value.{advice}")
        yield names[key], value


def _explain(error: ErrorDetails, given: Mapping[str, _Given]) -> str:
    """Return one sentence: which setting, what value, where, what is wrong. Quotes no secret."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")  # about several settings
    name = str(error["loc"][0])
    keys = [key for key in error["loc"] if isinstance(key, int) or key.isidentifier()]
    full = name + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys[1:])
    where = given[name].where(keys)
    if error["type"] == "extra_forbidden":
        return f"Unknown setting {full} {where}{hint_at(str(keys[-1]), PARTS[name].model_fields)}"
    quoted = "" if name in SECRET else f" {json.dumps(given[name].value, default=str)}"
    return f"The setting {full} {where} cannot be{quoted or ' used'}: it {_fault(error, name)}."


def _fault(error: ErrorDetails, name: str) -> str:
    """Return what is wrong with a value, in our words: pydantic's are for programmers."""
    kind, key = error["type"], error["loc"][-1]
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind in NO_TEXT and isinstance(error["input"], bool | int | float | date):
        return "has a value that YAML reads as a number, a date or true; quote it"
    limits = error.get("ctx", {})
    for mark, _, text in UNITS:
        if mark in Settings.model_fields[name].metadata:
            limits = {limit: text(value) for limit, value in limits.items()}
    form = FORMS.get(str(key)) if kind in ("string_pattern_mismatch", "missing") else None
    words = form or next((words for part, words in FAULTS.items() if part in kind), "is not valid")
    return words.format(**limits)
