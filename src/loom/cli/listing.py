"""The commands `loom ls`, `show`, `rm` and `spy`. Owns how streams are told to people and scripts."""

import json
import sys
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli import options
from loom.cli.options import Color, Json, Server, Token
from loom.cli.running import STDOUT, Stop, colored, is_terminal, run, tell, write
from loom.cli.terminal import Shown, printable

if TYPE_CHECKING:
    from loom.client.client import AsyncClient
    from loom.client.info import StreamInfo

STATE_COLORS = {"live": 32, "open": 36, "interrupted": 33, "aborted": 31}

LS_EPILOG = options.epilog(
    "loom ls build/ --state live,interrupted",
    "loom ls --meta commit=3f2a91c --json | jq -r .id",
)
SHOW_EPILOG = options.epilog("loom show build/42", "loom show --json build/42 | jq .metadata.exit_code")
RM_EPILOG = options.epilog(
    "loom rm build/42",
    "loom rm --prefix build/ --dry-run    how many there are",
    "loom rm --prefix build/ --yes        deletes them without a question",
)
SPY_EPILOG = options.epilog("loom spy", "loom spy --color always | less -R")

Id = Annotated[str, typer.Argument(metavar="ID", autocompletion=options.complete_id)]


def ls(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", autocompletion=options.complete_id)] = "",
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="live, interrupted, open, complete, aborted; repeatable."),
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only with this in the metadata; repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many.")
    ] = None,
    as_json: Json = False,
    color: Color = "auto",
    server: Server = None,
    token: Token = None,
) -> None:
    """List streams, newest first: state, size, age, id."""
    pairs = [each.partition("=") for each in meta or ()]
    if not all(key and equals for key, equals, _ in pairs):
        raise typer.BadParameter("--meta is of the form key=value.")

    async def work(client: "AsyncClient") -> None:
        found = client.streams(
            prefix,
            states=[word for each in state or () for word in each.split(",")],
            metadata={key: value for key, _, value in pairs},
            limit=limit,
        )
        now = datetime.now(UTC)
        colors = colored(color)
        async with aclosing(found):
            async for info in found:
                line = json.dumps(info.row) if as_json else _row(info, now, colors)
                write(f"{line}\n".encode())

    run("loom ls", server, token, work)


def show(id: Id, as_json: Json = False, server: Server = None, token: Token = None) -> None:
    """Show what is known of a stream."""

    async def work(client: "AsyncClient") -> None:
        info = await client.info(id)
        text = json.dumps(info.row) if as_json else "\n".join(_facts(info))
        write(f"{text}\n".encode())

    run("loom show", server, token, work)


def rm(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", autocompletion=options.complete_id)] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="All streams whose ids begin so.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete those of a prefix without a question.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Delete streams, for good. A live one too: its producer and its readers are cut."""
    if bool(ids) == (prefix is not None):
        raise typer.BadParameter("Name streams, or give --prefix.")
    if dry_run and prefix is None:
        raise typer.BadParameter("--dry-run goes with --prefix.")

    async def work(client: "AsyncClient") -> None:
        for id in ids or ():
            await client.delete(id)
        if prefix is None:
            return
        count = await client.count(prefix)
        if dry_run or not count:
            write(f"{count} streams begin with {printable(prefix)!r}.\n".encode())
        elif yes or _asked(f"Delete {count} streams that begin with {printable(prefix)!r}, for good? [y/N] "):
            deleted = await client.delete_all(prefix, confirm=count)
            write(f"{deleted} streams deleted.\n".encode())
        else:
            raise Stop(options.REFUSED, "Nothing was deleted.")

    run("loom rm", server, token, work)


def spy(color: Color = "auto", server: Server = None, token: Token = None) -> None:
    """Show everything that is being sent to the server, in one output, until it is stopped.

    After a break it joins again, and says so: what was sent meanwhile is not shown.
    """

    async def work(client: "AsyncClient") -> None:
        from loom.client.errors import ClientError
        from loom.client.session import Backoff

        backoff = Backoff(client.session.timeouts.patience)
        guard = Shown() if is_terminal(STDOUT) else None
        joined = False
        while True:
            try:
                async with aclosing(client.spy(color=colored(color))) as pieces:
                    async for piece in pieces:
                        joined = True
                        backoff.reset()
                        write(piece if guard is None else guard.feed(piece))
            except ClientError as error:
                if not joined:
                    raise
                tell("loom spy", f"{error} Joining again.")
                await backoff.wait(error)

    run("loom spy", server, token, work)


def _row(info: "StreamInfo", now: datetime, colors: bool) -> str:
    state = f"{info.state:<11}"
    if colors and (number := STATE_COLORS.get(info.state)):
        state = f"\x1b[{number}m{state}\x1b[0m"
    return (
        f"{state} {_size(info.size):>9} {_age((now - info.created).total_seconds()):>4}  {printable(info.id)}"
    )


def _facts(info: "StreamInfo") -> Iterator[str]:
    told = {
        "id": info.id,
        "state": f"{info.state} ({info.reason})" if info.reason else info.state,
        "size": f"{info.size} bytes ({_size(info.size)})",
        "type": info.content_type,
        "created": info.created.isoformat(),
        "ended": info.ended and info.ended.isoformat(),
        "expires": info.expires and info.expires.isoformat(),
        "key": info.key,
    }
    for name, value in told.items():
        if value:
            yield f"{name + ':':<10} {printable(str(value))}"
    if info.metadata not in ({}, None):
        yield "metadata:"
        for line in json.dumps(info.metadata, indent=2, ensure_ascii=False).splitlines():
            yield f"  {printable(line)}"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _asked(question: str) -> bool:
    if not is_terminal(0):
        raise Stop(options.USAGE, "There is nobody to ask: --yes deletes without a question.")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
