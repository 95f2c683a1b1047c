"""Which server a client command talks to, and with which token.

Owns the order of the sources: flag, environment, the client's file, default. An error names the source of a
wrong value. YAML is loaded only if the file exists.
"""

import os
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
    path = config_path(environ)
    given |= {name: (value, f"in {path}") for name, value in _read(path, environ).items()}
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


def _read(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if environ.get("LOOM_CLIENT_CONFIG"):
            raise ConfigError(f"The file {path}, named by LOOM_CLIENT_CONFIG, does not exist.") from None
        return {}
    except OSError as error:
        raise ConfigError(f"The file {path} cannot be read: {error.strerror}.") from None
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        # The parser's own message quotes the file, which may hold a token.
        raise ConfigError(f"The file {path} is not valid YAML.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f'The file {path} does not have the form "server: URL".')
    for key, value in document.items():
        if key not in KEYS:
            raise ConfigError(f"Unknown setting {key!r} in {path}; there are {', '.join(KEYS)}.")
        if not isinstance(value, str):
            raise ConfigError(f"The {key} in {path} is not a text; put it in quotes.")
    return document


def _check(name: str, value: str, origin: str) -> str:
    """Return `value`. Raise ConfigError if it is invalid; the error never quotes a token."""
    if name == "token":
        if fault := token_fault(value):
            raise ConfigError(f"The token {origin} {fault}.")
    elif fault := url_fault(value):
        raise ConfigError(f"The {name} {value!r} {origin} {fault}.")
    return value
