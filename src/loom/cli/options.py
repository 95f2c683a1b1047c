"""What every client command shares: which server, which token; and the exit codes of the reading commands.

Owns where these come from: flag, then environment, then the client's file, then the default; and the sentence
that says where a wrong one came from. Loads nothing heavy: YAML only if there is a file.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from loom.client.address import has_user, token_fault, url_fault
from loom.errors import ConfigError

DEFAULT_SERVER = "http://127.0.0.1:3060"
KEYS = ("server", "token", "proxy")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

OK, REFUSED, USAGE, CONFLICT, UNAUTHORIZED, LOST, OUTPUT, ABORTED, NOT_FOUND = 0, 1, 2, 3, 4, 5, 6, 7, 8
INTERRUPTED, BROKEN_PIPE = 130, 141

EXITS = {
    OK: "done",
    REFUSED: "the server refused, for a reason that has no code of its own",
    USAGE: "the arguments or the settings are wrong",
    CONFLICT: "the stream was replaced meanwhile, or is not as the command takes it to be",
    UNAUTHORIZED: "the token is missing, unknown, or may not do this",
    LOST: "the server was not reached, or was lost and did not come back",
    OUTPUT: "the output could not be written, or its bytes are not those of the digest",
    ABORTED: "the stream ended without its producer saying that it is complete",
    NOT_FOUND: "there is no such stream",
    INTERRUPTED: "interrupted with Ctrl-C",
    BROKEN_PIPE: "whoever read the output left",
}

ENVIRONMENT = {
    "LOOM_SERVER": "URL of the server",
    "LOOM_TOKEN": "bearer token; the place for it, since every user of a machine sees command lines",
    "LOOM_PROXY": "URL of an HTTP proxy; those in HTTP_PROXY are not used",
    "LOOM_CLIENT_CONFIG": "the file with server, token and proxy; default: ~/.config/loom/client.yaml",
}

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help=f"The server. [LOOM_SERVER, or server in the client's file; default: {DEFAULT_SERVER}]",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Bearer token; better in the environment or the file. [LOOM_TOKEN, or token in the file]",
    ),
]
Color = Annotated[
    str, typer.Option("--color", metavar="auto|always|never", help="Colours; auto: on a terminal.")
]
Wait = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Wait for a stream that is not there yet; show it from its start."),
]
Json = Annotated[bool, typer.Option("--json", help="Lines of JSON, for scripts.")]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to talk to, checked: `server` and `proxy` are http or https URLs."""

    server: str = DEFAULT_SERVER
    token: str | None = field(default=None, repr=False)
    proxy: str | None = None


def resolve(
    server: str | None = None, token: str | None = None, environ: Mapping[str, str] = os.environ
) -> Target:
    """What flags, environment and the client's file say together. Raises ConfigError with one sentence."""
    given: dict[str, tuple[str, str]] = {}
    path = config_path(environ)
    given |= {name: (value, f"in {path}") for name, value in _read(path, environ).items()}
    for name in KEYS:
        # An empty variable is as one that is not set: that is how a shell says so for one command.
        if value := environ.get(f"LOOM_{name.upper()}"):
            given[name] = value, f"in the environment variable LOOM_{name.upper()}"
    for name, flag in (("server", server), ("token", token)):
        if flag is not None:
            given[name] = flag, f"in --{name}"
    values = {name: _check(name, value, origin) for name, (value, origin) in given.items()}
    target = Target(**values)
    if target.token and has_user(target.server):
        raise ConfigError(
            f"The server {given['server'][1]} has a user in its URL, and there is a token "
            f"{given['token'][1]}: give one of them."
        )
    return target


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The client's file, there or not."""
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
        # Not the parser's own words: they quote the file, and a token may stand there.
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
    """The value itself; a token is never quoted. Raises ConfigError."""
    if name == "token":
        if fault := token_fault(value):
            raise ConfigError(f"The token {origin} {fault}.")
    elif fault := url_fault(value):
        raise ConfigError(f"The {name} {value!r} {origin} {fault}.")
    return value


def epilog(*examples: str, exits: Iterable[int] = EXITS) -> str:
    """What stands below a command's options: examples, exit codes, environment."""
    sections = {
        "Examples": examples,
        "Exit codes": [f"{code:<4} {EXITS[code]}" for code in exits],
        "Environment": [f"{name:<19} {meaning}" for name, meaning in ENVIRONMENT.items()],
    }
    # What follows a \b is not wrapped.
    return "\n\n".join(
        "\b\n" + "\n".join([f"{title}:", *(f"  {line}" for line in lines)])
        for title, lines in sections.items()
    )


def seconds(text: str) -> int:
    """How many seconds a duration is, such as 24h. Raises ValueError, whose text says what one is."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if found is None:
        raise ValueError(f"{text!r} is not a time like 90s, 30m, 24h, 7d or 4w.")
    return int(found[1]) * UNITS[found[2]]


def complete_id(incomplete: str) -> list[str]:
    """Ids that begin so, for the shell; none where the server does not answer at once."""
    import http.client
    import json
    from urllib.parse import urlencode

    try:
        target = resolve()
        url = urlsplit(target.server)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=1)
        headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
        query = urlencode({"prefix": incomplete, "limit": 50})
        connection.request("GET", f"{url.path.rstrip('/')}/streams?{query}", headers=headers)
        rows = json.loads(connection.getresponse().read())["streams"]
        return [row["id"] for row in rows if row["id"].isprintable()]
    except Exception:
        # A completion that fails says nothing: what it wrote would stand in the middle of a command line.
        return []
