"""Which server a client command talks to, and with which token.

Owns the order of the sources: flag, environment, the client's file, default. An error names the source of a
wrong value. YAML is loaded only if the file exists.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loom.client.address import DEFAULT_SERVER, has_user, token_fault, url_fault
from loom.errors import ConfigError

KEYS = ("server", "token", "proxy")

ENVIRONMENT = {
    "LOOM_SERVER": "URL of the server.",
    "LOOM_TOKEN": "Bearer token. Safer than --token: every user of a machine can see command lines.",
    "LOOM_PROXY": "URL of an HTTP proxy. HTTP_PROXY and its relatives are not used.",
    "LOOM_CLIENT_CONFIG": "File with server, token and proxy; default: ~/.config/loom/client.yaml.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A valid address: `server` and `proxy` are http or https URLs."""

    server: str = DEFAULT_SERVER
    token: str | None = field(default=None, repr=False)
    proxy: str | None = None


def resolve(
    server: str | None = None, token: str | None = None, environ: Mapping[str, str] = os.environ
) -> Target:
    """Combine flags, environment and the client's file. Raise ConfigError if a value is invalid."""
    given: dict[str, tuple[str, str]] = {}
    _check_variables(environ)
    given |= _read(config_path(environ), environ)
    for name in KEYS:
        # An empty variable counts as unset: that is how a shell clears one for a single command.
        if value := environ.get(f"LOOM_{name.upper()}"):
            given[name] = value, f"in the environment variable LOOM_{name.upper()}"
    for name, flag in (("server", server), ("token", token)):
        if flag is not None:
            given[name] = flag, f"in --{name}"
    target = Target(**{name: _check(name, value, origin) for name, (value, origin) in given.items()})
    if target.token and has_user(target.server):
        raise ConfigError(
            f"The server {given['server'][1]} has a user in its URL, and there is a token "
            f"{given['token'][1]}: give one of them."
        )
    return target


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the client's file, whether it exists or not."""
    if chosen := environ.get("LOOM_CLIENT_CONFIG"):
        return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".config"
    return folder / "loom" / "client.yaml"


def _read(path: Path, environ: Mapping[str, str]) -> Mapping[str, tuple[str, str]]:
    """Return what the file has by name: the value, and where it was given."""
    if not path.exists():
        if environ.get("LOOM_CLIENT_CONFIG"):
            raise ConfigError(f"The file {path}, named by LOOM_CLIENT_CONFIG, does not exist.")
        return {}
    from loom.documents import read_document

    document = read_document(path, KEYS)
    for key, value in document.values.items():
        if not isinstance(value, str):
            raise ConfigError(f"The {key} {document.where([key])} is not a text; put it in quotes.")
    return {key: (value, document.where([key])) for key, value in document.values.items()}


def _check_variables(environ: Mapping[str, str]) -> None:
    """Warn of a variable that looks like a misspelt one of ours: without it another server would be used."""
    for name in environ:
        if not name.startswith("LOOM_") or name in ENVIRONMENT:
            continue
        from difflib import get_close_matches

        if near := get_close_matches(name, ENVIRONMENT, n=1, cutoff=0.85):
            from loom.config import Settings, variable

            if name not in map(variable, Settings.model_fields):
                warnings.warn(f"The variable {name} has no meaning; did you mean {near[0]}?", stacklevel=2)


def _check(name: str, value: str, origin: str) -> str:
    """Return `value`. Raise ConfigError if it is invalid; the error never quotes a token."""
    if name == "token":
        if fault := token_fault(value):
            raise ConfigError(f"The token {origin} {fault}.")
    elif fault := url_fault(value):
        raise ConfigError(f"The {name} {value!r} {origin} {fault}.")
    return value
