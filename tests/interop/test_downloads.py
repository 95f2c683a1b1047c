"""What curl and wget make of a stream that is live or was aborted: the advice of docs/reading.md holds."""

from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Callable

import pytest
from tests.support.running import ONE_STORE, Loom, Serve

from loom.model import State

pytestmark = ONE_STORE

FIRST, REST = b"first part\n" * 1000, b"rest\n"
START = 4096
CURL, WGET = ["curl", "-sSN"], ["wget", "-q", "--tries=1", "-O", "-"]


@pytest.fixture
async def loom(serve: Serve) -> Loom:
    return await serve(resume_window=0)


@pytest.mark.parametrize("command", [CURL, WGET], ids=["curl", "wget"])
async def test_an_offset_continues_a_partial_download_of_a_live_stream(
    loom: Loom, tool: Callable[[str], str], command: list[str]
):
    producer = await loom.live("/stream/a", FIRST)
    url = f"{loom.url}/stream/a?offset={START}"
    process = await create_subprocess_exec(tool(command[0]), *command[1:], url, stdout=PIPE)
    assert process.stdout
    assert await process.stdout.readexactly(len(FIRST) - START) == FIRST[START:]
    await producer.chunk(REST)
    await producer.chunk(b"")
    assert await process.stdout.read() == REST
    assert await process.wait() == 0


@pytest.mark.parametrize(("command", "code"), [(CURL, 18), (WGET, 4)], ids=["curl", "wget"])
async def test_a_download_of_a_stream_that_is_aborted_fails(
    loom: Loom, tool: Callable[[str], str], command: list[str], code: int
):
    producer = await loom.live("/stream/a", FIRST)
    process = await create_subprocess_exec(
        tool(command[0]), *command[1:], f"{loom.url}/stream/a", stdout=PIPE
    )
    assert process.stdout
    assert await process.stdout.readexactly(len(FIRST)) == FIRST
    await producer.close()
    assert await process.stdout.read() == b""
    assert await process.wait() == code
    assert (await loom.until("a", State.ABORTED)).size == len(FIRST)
