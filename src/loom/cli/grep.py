"""The command `loom grep`. Owns how the lines that match are written."""

import json
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.running import STDOUT, colored, is_terminal, with_client, write
from loom.cli.terminal import one_line

if TYPE_CHECKING:
    from loom.client.client import AsyncClient
    from loom.wire.matches import FoundLine

MATCH, NUMBER, CONTEXT = "\x1b[1;31m", "\x1b[32m", "\x1b[36m"
RESET = "\x1b[0m"
COUNT = options.whole(0, 100)


@declare(
    "grep",
    "loom grep build/42 'error|panic'         the lines that match, also of a live stream as it grows",
    "loom grep -i -C 3 build/42 failed        any case, with three lines before and after each",
    "loom grep -n -m 1 build/42 'exit code'   the first one, with its number",
    "loom grep --no-follow -c build/42 WARN   how many, of what is stored",
    "loom grep --since 10m --json build/42 timeout | jq -r .text",
)
@options.stream
@click.argument("pattern", metavar="PATTERN")
@click.option("--ignore-case", "-i", is_flag=True, help="Let upper and lower case match each other.")
@click.option("--line-number", "-n", is_flag=True, help="Write the number of each line.")
@click.option("--time", "-t", is_flag=True, help="Write when each line arrived.")
@click.option("--context", "-C", metavar="N", type=COUNT, help="Write N lines before and after each match.")
@click.option("--before", "-B", metavar="N", type=COUNT, help="Write N lines before each match.")
@click.option("--after", "-A", metavar="N", type=COUNT, help="Write N lines after each match.")
@click.option("--limit", "-m", metavar="N", type=options.whole(1), help="Stop after N matches.")
@click.option("--count", "-c", is_flag=True, help="Write only how many lines match.")
@click.option("--quiet", "-q", is_flag=True, help="Write nothing; the exit code says whether a line matches.")
@click.option("--since", metavar="TIME", type=options.since, help="Search what arrived since: 10m, 2h, …")
@click.option("--line", metavar="N", type=options.whole(1), help="Search from this line on.")
@click.option("--no-follow", is_flag=True, help="Do not wait for further lines of a live stream.")
@options.json
@options.color
@with_client
async def command(
    client: "AsyncClient",
    id: str,
    pattern: str,
    ignore_case: bool,
    line_number: bool,
    time: bool,
    context: int | None,
    before: int | None,
    after: int | None,
    limit: int | None,
    count: bool,
    quiet: bool,
    since: str | None,
    line: int | None,
    no_follow: bool,
    as_json: bool,
    color: str,
) -> int:
    """Search a stream for lines that match a pattern, on the server.

    PATTERN has the syntax of RE2: github.com/google/re2/wiki/Syntax. Exit code 1 means that no line matches.
    A line of more than 4 KiB is shown in part.
    """
    if since and line:
        raise click.UsageError("Give --since or --line, not both.")
    from loom.wire.matches import FoundLine, SearchEnd

    silent = count or quiet
    around = 0 if silent else context or 0
    found = client.grep(
        id,
        pattern,
        ignore_case=ignore_case,
        before=around if before is None else before,
        after=around if after is None else after,
        limit=1 if quiet else limit,
        follow=not no_follow,
        line=line,
        since=since,
    )
    lines = _Lines(
        numbers=line_number, times=time, colors=colored(color), groups=bool(around or before or after)
    )
    matches, end = 0, None
    async with aclosing(found) as items:
        async for item in items:
            if isinstance(item, SearchEnd):
                end = item
            elif not silent:
                write(_json(item) if as_json else lines.shown(item))
            matches += isinstance(item, FoundLine) and not item.context
    if count and not quiet:
        write(f"{matches}\n".encode())
    if end is not None and end.state == "aborted" and not matches:
        raise Stop(exit_codes.ABORTED, f"No line of {id} matches, and it was aborted: {end.reason}.")
    return exit_codes.OK if matches else exit_codes.REFUSED


def _json(line: "FoundLine") -> bytes:
    return json.dumps(asdict(line)).encode() + b"\n"


class _Lines:
    """Forms lines as grep does: a colon after the number of a match, a hyphen after that of its context."""

    def __init__(self, *, numbers: bool, times: bool, colors: bool, groups: bool) -> None:
        self._numbers = numbers
        self._times = times
        self._colors = colors
        self._groups = groups
        self._guarded = is_terminal(STDOUT)
        self._latest = 0

    def shown(self, line: "FoundLine") -> bytes:
        """Return a line; where lines are left out before it, `--` in between."""
        gap = self._groups and self._latest and line.line > self._latest + 1
        self._latest = line.line
        mark = "-" if line.context else ":"
        label = ""
        if self._times and line.time is not None:
            label += datetime.fromtimestamp(line.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") + mark
        if self._numbers:
            label += f"{line.line}{mark}"
        if self._colors and label:
            label = f"{CONTEXT if line.context else NUMBER}{label}{RESET}"
        return f"{'--' + chr(10) if gap else ''}{label}{self._text(line)}\n".encode()

    def _text(self, line: "FoundLine") -> str:
        """Return the text, with its matches in colour; on a terminal without what would control that."""
        text = line.text
        if (self._guarded and "\x1b" in text) or "\r" in text or "\b" in text:
            return one_line(text)
        if not self._colors:
            return text
        parts, at = [], 0
        for start, end in line.spans:
            parts += [text[at:start], MATCH, text[start:end], RESET]
            at = end
        return "".join([*parts, text[at:]])
