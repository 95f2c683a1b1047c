"""The command `loom import`: takes the streams of ProboCI's loom into a data directory that no server uses.

Offline, through the store itself, because only there a stream can have been created before today. Owns what
is taken, left alone and reported; each stream is taken whole or, when a run breaks off, again by the next.
"""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.probo import Damage, Source, content, sources
from loom.errors import ConfigError, InvalidId, LoomError, StreamExists, StreamNotFound
from loom.model import NewStream, Patch, State, check_id, repeats
from loom.store.base import Store

DONE, PARTLY, CANNOT = exit_codes.OK, exit_codes.REFUSED, exit_codes.USAGE
MAX_METADATA = 32768
"""More would not fit into a header of an answer; the setting max_metadata_bytes allows as much."""


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


@declare("import", "loom import /var/loom/data --metadata streams.json --data /var/lib/loom")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--metadata",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The exported metadata table, in JSON.",
)
@click.option(
    "--data",
    metavar="DIR",
    default="./data",
    type=click.Path(path_type=Path),
    show_default=True,
    help="The data directory to import into.",
)
@click.option("--plain", is_flag=True, help="Treat no file as compressed, even if it looks so.")
@click.option("--dry-run", is_flag=True, help="Read everything, write nothing.")
@options.json
def command(
    directory: Path, metadata: Path | None, data: Path, plain: bool, dry_run: bool, as_json: bool
) -> int:
    """Import the streams of ProboCI's loom into a data directory.

    DIR holds the files stream-<id>.log. No server may use the data directory. A file that is truncated or
    damaged is imported up to that byte, and its stream is aborted. Streams get the time of their file.
    The import may be repeated: streams that exist already are kept.
    """
    try:
        found, missing = sources(directory, metadata)
        taken = asyncio.run(run(found, data, plain=plain, dry=dry_run))
    except LoomError as error:
        raise Stop(CANNOT if isinstance(error, ConfigError) else PARTLY, str(error)) from None
    for id in missing:
        taken.note("without a file", id, "the table knows it, but its bytes are not there")
    if as_json:
        told = {"dry_run": dry_run, "bytes": taken.size, "streams": taken.outcomes, "notes": taken.notes}
        click.echo(json.dumps(told))
    else:
        for each in taken.notes:
            click.echo(f"{each['outcome']}: {each['id']}: {each['why']}")
        counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(taken.outcomes.items()))
        click.echo(f"{counted or 'no streams'}; {taken.size} bytes{' (nothing written)' if dry_run else ''}")
    return PARTLY if taken.outcomes["failed"] else DONE
