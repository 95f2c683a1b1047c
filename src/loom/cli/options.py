"""Options, arguments and types that several commands have, each declared once."""

import math
import warnings
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import click

from loom.cli.target import resolve
from loom.client.address import DEFAULT_SERVER
from loom.errors import InvalidId
from loom.ids import check_id
from loom.model import DEFAULT_CONTENT_TYPE
from loom.units import LENGTHS, parse_duration, parse_size
from loom.wire.times import parse_since

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def stream_id(text: str) -> str:
    """Return `text`, the id of a stream."""
    try:
        return check_id(text)
    except InvalidId as error:
        raise click.BadParameter(str(error), param_hint="ID") from None


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}.") from None


def duration(text: str) -> float:
    """Return the seconds of a duration such as 90s or 7d."""
    return _parsed(parse_duration, text)


def seconds(text: str) -> int:
    """Return the whole seconds of a duration such as 90s or 7d."""
    return int(duration(text))


def size(text: str) -> int:
    """Return the bytes of a size such as 64MiB, at least one."""
    if count := _parsed(parse_size, text):
        return count
    raise click.BadParameter(f"{text!r} is not at least one byte.")


def lifetime(text: str) -> int:
    """Return the seconds of a time that a signed token may last."""
    seconds = int(duration(text))
    if 1 <= seconds <= 366 * LENGTHS["d"]:
        return seconds
    raise click.BadParameter(f"{text!r} is not from 1s to 366d.")


def since(text: str) -> str:
    """Return `text`, a time in RFC 3339 or a duration before now."""
    if math.isnan(parse_since(text, 0.0)):
        raise click.BadParameter(f"{text!r} is not a time like 10m, 2h or 2026-01-31T12:00:00Z.")
    return text


def words_option(name: str, kind: type[StrEnum]) -> Callable[[F], F]:
    """Return the repeatable option --name, whose values are lists of members of `kind`."""

    def parse(text: str) -> list[str]:
        for word in text.split(","):
            if word not in list(kind):
                raise click.BadParameter(f"{word!r} is not one of {', '.join(kind)}.")
        return text.split(",")

    def complete(_context: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
        before, comma, last = start.rpartition(",")
        return [f"{before}{comma}{word}" for word in kind if word.startswith(last)]

    return click.option(
        f"--{name}",
        f"{name}s",
        metavar=name.upper(),
        multiple=True,
        type=parse,
        callback=lambda _context, _parameter, given: [word for words in given for word in words],
        shell_complete=complete,
        help=f"List only streams with this {name}: {', '.join(kind)}; repeatable.",
    )


def check_selection(ids: tuple[str, ...], prefix: str | None) -> None:
    """Raise UsageError unless there are either ids or a prefix."""
    if ids and prefix is not None:
        raise click.UsageError("Give the IDs of streams or --prefix, not both.")
    if not ids and prefix is None:
        raise click.UsageError("Give the IDs of streams, or --prefix.")


def offset(text: str) -> int:
    """Return a position in a stream; a negative one counts from the end."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return int(text)
    raise click.BadParameter(f"{text!r} is not a number of bytes such as 1000 or -1000.")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 16:
            number = int(text)
            if least <= number and (most is None or number <= most):
                return number
        limit = "or more" if most is None else f"to {most}"
        raise click.BadParameter(f"{text!r} is not a whole number of {least} {limit}.")

    return parse


def pair(text: str) -> tuple[str, str]:
    """Return the parts of key=value."""
    key, equals, value = text.partition("=")
    if key and equals:
        return key, value
    raise click.BadParameter(f"{text!r} is not of the form key=value.")


def header(text: str) -> str:
    """Return `text`, the value of an HTTP header. The error does not quote it: it may be a token."""
    if text and text.isascii() and text.isprintable():
        return text
    raise click.BadParameter("must be printable ASCII characters, and not empty.")


def complete_id(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    """Ask the server for ids that begin with `start`. Return none if it does not answer in a second."""
    import http.client
    import json
    from urllib.parse import urlencode, urlsplit

    try:
        with warnings.catch_warnings(action="ignore"):
            target = resolve()
        url = urlsplit(target.server)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=1)
        headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
        query = urlencode({"prefix": start, "limit": 50})
        connection.request("GET", f"{url.path.rstrip('/')}/streams?{query}", headers=headers)
        rows = json.loads(connection.getresponse().read())["streams"]
        return [row["id"] for row in rows if row["id"].isprintable()]
    except Exception:
        # An error message would appear in the middle of the command line that is being typed.
        return []


stream = click.argument("id", metavar="ID", type=stream_id, shell_complete=complete_id)
streams = click.argument("ids", metavar="[ID]...", type=stream_id, nargs=-1, shell_complete=complete_id)

meta = click.option(
    "--meta", metavar="KEY=VALUE", multiple=True, type=pair, help="Add to the metadata; repeatable."
)
content_type = click.option(
    "--content-type",
    metavar="TYPE",
    type=header,
    default=DEFAULT_CONTENT_TYPE,
    help="Media type of the stream.",
)

server = click.option(
    "--server",
    metavar="URL",
    help=f"URL of the server. [LOOM_SERVER, or server in the client's file; default: {DEFAULT_SERVER}]",
)
token = click.option(
    "--token",
    metavar="TOKEN",
    help="Bearer token; safer in the environment or the file. [LOOM_TOKEN, or token in the file]",
)
json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
color = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Use colours; auto: on a terminal.",
)
wait = click.option(
    "--wait", "-w", is_flag=True, help="Wait for a stream that does not exist yet; show it from its start."
)
