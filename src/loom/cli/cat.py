"""The command `loom cat`. Owns its outputs: a file that can be continued, or standard output with a guard."""

import hashlib
import os
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING

import click

from loom.cli import exit_codes, options
from loom.cli.command import STDERR, Stop, declare
from loom.cli.running import STDOUT, Output, is_terminal, output_errors, progress_bar, with_client, write
from loom.cli.terminal import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from loom.client.client import AsyncClient
    from loom.client.reading import Reading

Total = Callable[[], int | None]
BAR_AFTER = 1.0
"""Seconds before a download gets a progress bar."""


@declare(
    "cat",
    "loom cat build/42 > build.log        all of it; a live stream to its end",
    "loom cat -o core -c core             the bytes that the file core lacks, then compare all",
    "loom cat -n build/42 | grep error    the bytes stored so far",
    "loom cat --range 0-99 core           the first 100 bytes",
    "loom cat --offset -1000 build/42     the last 1000 bytes, then new ones",
)
@options.stream
@click.option(
    "--range", metavar="A-B", help="Write only bytes A to B of those stored so far; also A-, -LAST."
)
@click.option(
    "--offset", metavar="N", type=options.offset, help="Start at byte N; negative: N bytes before the end."
)
@click.option("--no-follow", "-n", is_flag=True, help="Do not wait for further bytes of a live stream.")
@options.wait
@click.option("--output", "-o", "file", metavar="FILE", help="Write to FILE instead of standard output.")
@click.option(
    "--continue", "-c", "resume", is_flag=True, help="Keep what FILE has of the stream, and fetch the rest."
)
@click.option(
    "--force", "-f", is_flag=True, help="Write binary and control sequences to a terminal unchanged."
)
@click.option(
    "--progress/--no-progress", default=True, help="Show a progress bar if standard error is a terminal."
)
@with_client
async def command(
    client: "AsyncClient",
    id: str,
    range: str | None,
    offset: int | None,
    no_follow: bool,
    wait: bool,
    file: str | None,
    resume: bool,
    force: bool,
    progress: bool,
) -> None:
    """Write a stream to standard output or to a file.

    After a disconnect the download resumes at the exact byte of the same stream. A complete stream that was
    read from its start is compared with its digest. On a terminal, binary is refused, and control sequences
    other than colours and the movements of progress bars are left out.
    """
    if range is not None and offset is not None:
        raise click.UsageError("Give --range or --offset, not both.")
    if (wait or resume) and (range is not None or no_follow or offset):
        raise click.UsageError("--wait and --continue take no --range, --offset or --no-follow.")
    if resume and file is None:
        raise click.UsageError("--continue needs --output FILE.")

    guarded = is_terminal(STDOUT) and not force
    output = Output(id, guarded=guarded, option="--force") if file is None else _File(file)
    total: Total | None = None
    if range is not None:
        pieces = client.download(id, *_range(range))
    elif no_follow:
        pieces = client.download(id, offset or 0)
    else:
        if resume and isinstance(output, _File) and output.size():
            reading = await _rest(client, id, output)
        else:
            reading = client.follow(id, offset=offset, verify=not offset, wait=wait)
        pieces, total = aiter(reading), lambda: reading.size
    bar = progress and is_terminal(STDERR) and not (file is None and is_terminal(STDOUT))
    begun = output.begun if isinstance(output, _File) else 0
    with _Bar(id, total, begun=begun) if bar else nullcontext() as shown:
        await _copy(pieces, output, shown)


async def _copy(pieces: AsyncGenerator[bytes, None], output: "_File | Output", bar: "_Bar | None") -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            output.write(piece)
            if bar is not None:
                bar.advance(len(piece))
    output.end()


async def _rest(client: "AsyncClient", id: str, file: "_File") -> "Reading":
    """Read the bytes that the file lacks. The whole file is compared with the digest of the stream."""
    from loom.client.reading import Reading

    digest = file.resume()
    info = await client.info(id)
    if file.begun > info.size:
        raise Stop(
            exit_codes.OUTPUT,
            f"The file {file.path} has {file.begun} bytes and the stream {id} only {info.size}: "
            "it is not the beginning of this stream.",
        )
    return Reading(
        *(client.session, id, {}), start=file.begun, key=info.key, persistent=True, verify=True, hashed=digest
    )


class _File:
    """A file that a stream is written to. The old content is replaced by the first bytes, or by the end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.begun = 0
        """Bytes that are kept from an earlier run."""
        self._fd: int | None = None

    def size(self) -> int:
        """Return the size of the file, 0 if there is none."""
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    @output_errors()
    def resume(self) -> "hashlib._Hash":
        """Keep the content of the file. Return its SHA-256."""
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            self.begun = file.tell()
        return digest

    @output_errors()
    def write(self, data: bytes) -> None:
        if self._fd is None:
            keep = os.O_APPEND if self.begun else os.O_TRUNC
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | keep, 0o666)
        write(data, self._fd)

    def end(self) -> None:
        self.write(b"")
        assert self._fd is not None
        os.close(self._fd)


class _Bar:
    """A progress bar on standard error. It appears if the download takes longer than BAR_AFTER."""

    def __init__(self, id: str, total: Total | None, *, begun: int) -> None:
        self._id = id
        self._total = total
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._bytes = begun
        self._progress: Progress | None = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._draw()
            self._progress.stop()

    def advance(self, size: int) -> None:
        self._bytes += size
        now = time.monotonic()
        if now - self._begun > BAR_AFTER and now - self._drawn > 0.1:
            self._drawn = now
            self._draw()

    def _draw(self) -> None:
        if self._progress is None:
            self._progress = progress_bar()
            self._progress.start()
            self._task = self._progress.add_task(printable(self._id), total=None)
        total = self._total() if self._total else None
        self._progress.update(self._task, completed=self._bytes, total=total)


def _range(text: str) -> tuple[int, int | None]:
    """Return start and stop of a range in HTTP's form (RFC 9110 section 14.1.2)."""
    found = re.fullmatch(r"(\d{0,18})-(\d{0,18})", text)
    if found is None or text == "-" or (found[1] and found[2] and int(found[1]) > int(found[2])):
        raise Stop(exit_codes.USAGE, f"The range {text!r} is not of the form 0-99, 100- or -100.")
    if not found[1]:
        # The last 0 bytes are none, and a start of 0 would be the first.
        return (-int(found[2]), None) if int(found[2]) else (0, 0)
    return int(found[1]), int(found[2]) + 1 if found[2] else None
