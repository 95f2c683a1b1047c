import asyncio
from asyncio.subprocess import PIPE
from pathlib import Path

HERE = Path(__file__).parent


async def test_modules_without_a_page_pass_their_own_tests(tool):
    files = sorted(map(str, (HERE / "js").glob("*.test.mjs")))
    node = await asyncio.create_subprocess_exec(tool("node"), "--test", *files, stdout=PIPE)
    out, _ = await node.communicate()
    assert node.returncode == 0, out.decode()
