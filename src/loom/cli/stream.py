"""The command `stream`: standard input becomes a stream on a server, in one request.

Owns the arguments and the exit codes. Starts fast: argparse instead of Typer,
and aiohttp is imported once the arguments are found right.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn
from urllib.parse import urlsplit

from loom.errors import InvalidId
from loom.model import check_id

OK, REFUSED, USAGE, CONFLICT, UNAUTHORIZED, LOST, INPUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

EXITS = {
    OK: "the server has confirmed that everything is stored",
    REFUSED: "the server refused for a reason that has no code of its own",
    USAGE: "the arguments are wrong",
    CONFLICT: "the stream already exists (--force replaces it) or another producer took it",
    UNAUTHORIZED: "the token is missing, unknown, or may not do this",
    LOST: "the server was not reached, or was lost before it confirmed everything",
    INPUT: "standard input could not be read",
    INTERRUPTED: "interrupted; the server takes the stream as unfinished",
}
BY_STATUS = {401: UNAUTHORIZED, 403: UNAUTHORIZED, 409: CONFLICT}


def main(argv: Sequence[str] | None = None, prog: str = "stream") -> NoReturn:
    """Run the command and leave with its exit code."""
    try:
        code = _run(_parse(argv, prog), prog)
    except KeyboardInterrupt:
        code = _fail(prog, INTERRUPTED, "Interrupted before the server confirmed the stream.")
    # Straight out: nothing is left to write, and a standard error without a reader must not change the code.
    os._exit(code)


def _run(arguments: argparse.Namespace, prog: str) -> int:
    from loom.client.errors import InputFailed, Lost, Refused
    from loom.client.files import read_chunks
    from loom.client.post import post

    try:
        asyncio.run(
            post(
                arguments.server,
                arguments.id,
                read_chunks(sys.stdin.fileno()),
                token=arguments.token,
                metadata=json.dumps(dict(arguments.meta)) if arguments.meta else None,
                content_type=arguments.content_type,
                force=arguments.force,
            )
        )
    except Refused as error:
        return _fail(prog, BY_STATUS.get(error.status, REFUSED), str(error))
    except Lost as error:
        return _fail(prog, LOST, str(error))
    except InputFailed as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        return _fail(prog, INPUT, f"Standard input could not be read: {reason}.")
    return OK


def _fail(prog: str, code: int, sentence: str) -> int:
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f"{prog}: {sentence if sentence.isprintable() else ascii(sentence)}\n")
    return code


def _parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Send standard input to a Loom server as a stream, every byte as it arrives. "
        "Proxies named in the environment are not used: many hold a request back until its end.",
        epilog="exit codes:\n" + "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXITS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("server", metavar="SERVER_URL", type=_server, help="such as http://localhost:3060")
    parser.add_argument("id", metavar="STREAM_ID", type=_id, help="name of the stream; may have slashes")
    parser.add_argument("--force", action="store_true", help="replace a stream of that name")
    parser.add_argument(
        "--token", type=_header, help="bearer token; better given in the environment, as LOOM_TOKEN"
    )
    parser.add_argument(
        "--meta",
        metavar="KEY=VALUE",
        type=_pair,
        action="append",
        help="add to the stream's metadata; repeatable",
    )
    parser.add_argument(
        "--content-type", metavar="TYPE", type=_header, help="default: application/octet-stream"
    )
    arguments = parser.parse_args(argv)
    if sys.stdin is None:
        parser.error("standard input is closed")
    if arguments.token is None and (token := os.environ.get("LOOM_TOKEN")):
        try:
            arguments.token = _header(token)
        except argparse.ArgumentTypeError as error:
            parser.error(f"environment variable LOOM_TOKEN: {error}")
    if arguments.token and "@" in urlsplit(arguments.server).netloc:
        parser.error("give a token or a user in the URL, not both")
    return arguments


def _server(text: str) -> str:
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        valid = False
        url = urlsplit("")
    if not valid or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://localhost:3060")
    if url.query or url.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} must end with its path")
    return text


def _id(text: str) -> str:
    try:
        return check_id(text)
    except InvalidId as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _header(text: str) -> str:
    # The value stays out of the message: it may be a token.
    if not text or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError("must be printable ASCII characters, and not empty")
    return text


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    return key, value
