"""The command `loom show`."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loom.cli import options
from loom.cli.command import declare
from loom.cli.running import with_client, write
from loom.cli.terminal import counted, outcome_text, printable, stamp
from loom.client.address import page_url
from loom.units import size_text

if TYPE_CHECKING:
    from loom.client.client import AsyncClient
    from loom.client.info import StreamInfo


@declare("show", "loom show build/42", "loom show --json build/42 | jq .metadata.exit_code")
@options.stream
@options.json
@with_client
async def command(client: "AsyncClient", id: str, as_json: bool) -> None:
    """Show state, outcome, size, times and metadata of a stream."""
    info = await client.info(id)
    text = json.dumps(info.row) if as_json else "\n".join(_facts(info, page_url(client.session.name, id)))
    write(f"{text}\n".encode())


def _facts(info: "StreamInfo", page: str) -> Iterator[str]:
    facts = {
        "id": info.id,
        "state": f"{info.state} ({info.reason})" if info.reason else info.state,
        "outcome": info.outcome and outcome_text(info.outcome, info.metadata),
        "size": counted(info.size, "byte") + (f" ({size_text(info.size)})" if info.size >= 1024 else ""),
        "type": info.content_type,
        "created": stamp(info.created),
        "ended": info.ended and stamp(info.ended),
        "expires": info.expires and stamp(info.expires),
        "key": info.key,
        "page": page,
    }
    for name, value in facts.items():
        if value:
            yield f"{name + ':':<10} {printable(str(value))}"
    if info.metadata not in ({}, None):
        yield "metadata:"
        for line in json.dumps(info.metadata, indent=2, ensure_ascii=False).splitlines():
            yield f"  {printable(line)}"
