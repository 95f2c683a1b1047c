"""The command `loom import`: takes the streams of ProboCI's loom into a data directory that no server uses.

Offline, through the store itself, because only there a stream can have been created before today. Owns what
is taken, left alone and reported; each stream is taken whole or, when a run breaks off, again by the next.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from loom.cli.probo import Damage, Source, content, sources
from loom.errors import ConfigError, InvalidId, LoomError, StreamExists, StreamNotFound
from loom.model import NewStream, Patch, State, check_id, repeats
from loom.store.base import Store

DONE, PARTLY, CANNOT = 0, 1, 2
MAX_METADATA = 32768
"""More would not fit into a header of an answer; the setting max_metadata_bytes allows as much."""

EXITS = f"""Exit codes: {DONE} everything is there, now or already before; {PARTLY} something could not be
taken, as told; {CANNOT} nothing was tried: something cannot be read, or a server uses the data directory."""


class Moment:
    """A clock that says now, or what it is set to: streams are created when they were, not when they are
    taken."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self) -> float:
        return time.time() if self.at is None else self.at


class Import:
    """One run. `store` is None where nothing is to be written."""

    def __init__(self, store: Store | None, clock: Moment, *, plain: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.notes: list[dict[str, str]] = []
        self.size = 0
        self._store = store
        self._clock = clock
        self._plain = plain

    async def take(self, source: Source) -> None:
        """Take one stream, unless it is there. Raises StorageFull and what stops a store."""
        new = NewStream(
            id=source.id, metadata=source.metadata, idempotency_key=f"import of {source.path.name}"
        )
        try:
            check_id(source.id)
            if len(source.metadata) > MAX_METADATA:
                raise ConfigError(f"its metadata is longer than {MAX_METADATA} bytes")
            self._clock.at = source.time
            damage = await (
                self._read(source) if self._store is None else self._write(self._store, new, source)
            )
        except StreamExists:
            await self._left(new)
        except (InvalidId, ConfigError, OSError) as error:
            self.note("failed", source.id, str(error))
        else:
            if damage:
                self.note("aborted", source.id, damage)
            else:
                self.outcomes["complete"] += 1
        finally:
            self._clock.at = None

    def note(self, outcome: str, id: str, why: str) -> None:
        """Count a stream that is not simply complete, and keep why."""
        self.outcomes[outcome] += 1
        self.notes.append({"outcome": outcome, "id": id, "why": why})

    async def _read(self, source: Source) -> str:
        """What is wrong with its file, if something is."""
        try:
            for piece in content(source.path, plain=self._plain):
                self.size += len(piece)
        except Damage as damage:
            return str(damage)
        return ""

    async def _write(self, store: Store, new: NewStream, source: Source) -> str:
        """The same, and stores it. Raises StreamExists."""
        await self._clear(store, new)
        writer = await store.create(new)
        end = Patch(state=State.COMPLETE)
        try:
            for piece in content(source.path, plain=self._plain):
                writer.append(piece)
                await writer.wait_for_room()
                self.size += len(piece)
        except Damage as damage:
            end = Patch(state=State.ABORTED, reason=f"imported: {damage}")
        await writer.close(end)
        return end.reason.removeprefix("imported: ")

    async def _clear(self, store: Store, new: NewStream) -> None:
        """A run that broke off may have left a part of this stream."""
        try:
            info = await store.info(new.id)
        except StreamNotFound:
            return
        if repeats(new, info) and not info.state.final:
            await store.delete(info.key)

    async def _left(self, new: NewStream) -> None:
        assert self._store
        if repeats(new, await self._store.info(new.id)):
            self.outcomes["already there"] += 1
        else:
            self.note("failed", new.id, "another stream has this id; it was left alone")


async def run(found: list[Source], data: Path, *, plain: bool, dry: bool) -> Import:
    """Take these streams. Raises LoomError."""
    clock = Moment()
    store: Store | None = None
    if not dry:
        from loom.store.files import FilesStore

        store = await FilesStore.start(data, clock=clock)
    taking = Import(store, clock, plain=plain)
    try:
        for source in found:
            await taking.take(source)
    finally:
        if store is not None:
            await store.close()
    return taking


def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the stream-<id>.log files are.")],
    metadata: Annotated[
        Path | None, typer.Option("--metadata", metavar="FILE", help="The metadata table as JSON.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data directory to take them into.")
    ] = Path("./data"),
    plain: Annotated[
        bool, typer.Option("--plain", help="No file is compressed, even one that looks so.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Take the streams of ProboCI's loom into a data directory that no server is using.

    A file that is cut off or damaged is taken up to there, and its stream is aborted. Streams get the time of
    their file. It may be run again: what is there already is left alone.
    """
    try:
        found, missing = sources(directory, metadata)
        taken = asyncio.run(run(found, data, plain=plain, dry=dry_run))
    except LoomError as error:
        sys.stderr.write(f"loom import: {error}\n")
        raise typer.Exit(CANNOT if isinstance(error, ConfigError) else PARTLY) from None
    for id in missing:
        taken.note("without a file", id, "the table knows it, but its bytes are not there")
    if as_json:
        told = {"dry_run": dry_run, "bytes": taken.size, "streams": taken.outcomes, "notes": taken.notes}
        typer.echo(json.dumps(told))
    else:
        for each in taken.notes:
            typer.echo(f"{each['outcome']}: {each['id']}: {each['why']}")
        counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(taken.outcomes.items()))
        typer.echo(f"{counted or 'no streams'}; {taken.size} bytes{' (nothing written)' if dry_run else ''}")
    raise typer.Exit(PARTLY if taken.outcomes["failed"] else DONE)


def main(arguments: list[str]) -> None:
    """The command with these arguments; leaves with its exit code."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXITS)(command)
    app(arguments, prog_name="loom import")
