"""Take the picture of the page in the docs: python -m tests.page.picture docs/page.png"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright
from tests.page.conftest import FLAGS, Reader
from tests.support.server import Server

FOLDER = "builds/main/42"
METADATA = '"commit": "3f2a91c", "branch": "main", "runner": "linux-4"'
TEST = """\x1b[1mRun tests on linux-4\x1b[0m, Python 3.12.4
::group::Set up the environment
Collecting the locked requirements
  Using 64 cached wheels
\x1b[32mSuccessfully installed\x1b[0m 64 packages
::endgroup::
::group::Start services
postgres:16 is ready after 2.1 s
redis:7 is ready after 0.3 s
::endgroup::
::group::pytest tests/unit
\x1b[1m============================= test session starts =============================\x1b[0m
platform linux -- Python 3.12.4, pytest-9.0.1
collected 214 items

tests/unit/test_cart.py \x1b[32m............................\x1b[0m                 [ 13%]
tests/unit/test_checkout.py \x1b[32m...........\x1b[31mF\x1b[32m......\x1b[0m                   [ 21%]
tests/unit/test_mail.py \x1b[32m..............\x1b[33ms\x1b[32m........\x1b[0m                     [ 32%]
tests/unit/test_orders.py \x1b[32m........................................\x1b[0m     [ 51%]
tests/unit/test_users.py \x1b[32m..........................................\x1b[0m    [100%]

\x1b[1m=================================== FAILURES ===================================\x1b[0m
\x1b[1;31m____________________ test_a_refund_is_rounded_once ____________________\x1b[0m

    def test_a_refund_is_rounded_once():
        order = Order([Item("9.995"), Item("0.005")])
>       assert order.refund() == Money("10.00")
\x1b[1;31mE       AssertionError: assert Money('10.01') == Money('10.00')\x1b[0m

\x1b[1mtests/unit/test_checkout.py\x1b[0m:88: AssertionError
::error file=tests/unit/test_checkout.py,line=88::a refund is rounded twice: 10.01 instead of 10.00
::warning file=tests/unit/test_mail.py,line=12::skipped, no SMTP server
\x1b[31m========= \x1b[1m1 failed\x1b[0;31m, \x1b[32m212 passed\x1b[31m, 1 skipped in 41.27s =========\x1b[0m
::endgroup::
::group::Upload the report
report.xml: 48 KiB, see https://ci.example.com/reports/42
::endgroup::
\x1b[31mThe step failed with exit code 1\x1b[0m
"""
SLOW = {"::group::Start services": 1.0, "::group::pytest tests/unit": 1.0, "tests/unit/test_orders": 2.0}
"""Seconds that pass after a line, so that sections take a time."""


async def produce(reader: Reader, name: str, text: str, end: str = "") -> None:
    """Send a stream line by line; with `end`, metadata that comes with its end, end it."""
    id = f"{FOLDER}/{name}"
    producer = await reader.live(id, b"", **{"X-Stream-Metadata": f"{{{METADATA}}}"})
    for line in text.splitlines(keepends=True):
        await producer.chunk(line.encode())
        await asyncio.sleep(next((SLOW[begin] for begin in SLOW if line.startswith(begin)), 0))
    if end:
        await reader.patch(id, f"{{{end}}}".encode())
        await producer.chunk(b"")


async def build(reader: Reader) -> None:
    """Store a build whose tests fail, and in which one job still runs."""
    await produce(reader, "checkout", "HEAD is now at 3f2a91c\n" * 40, '"exit_code": 0')
    await produce(reader, "build", "compiled\n" * 9000, '"exit_code": 0')
    await produce(reader, "lint", "All checks passed\n" * 30, '"exit_code": 0')
    await asyncio.gather(
        produce(reader, "test", TEST, '"exit_code": 1'),
        produce(reader, "docs", "writing pages\n" * 400, '"exit_code": 0'),
        produce(reader, "image", "layer\n" * 800),
    )
    await produce(reader, "deploy", "The tests have failed.\n", '"outcome": "skipped"')


async def main(picture: str) -> None:
    """Store the build in a server of its own, and take the picture of its failed tests."""
    with tempfile.TemporaryDirectory() as folder:
        server = await Server.start(Path(folder, "data"), Path(folder, "log"))
        async with async_playwright() as playwright:
            chromium = shutil.which("chromium")
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            reader = Reader(
                server, browser, lambda _: Server.start(Path(folder, "data"), Path(folder, "log"))
            )
            await build(reader)
            page = await browser.new_page(viewport={"width": 1440, "height": 720}, color_scheme="dark")
            await reader.visit(page, f"/ui/stream/{FOLDER}/test")
            await page.locator("#siblings-list li").last.wait_for()
            await page.locator(".row.picked").wait_for()
            await page.screenshot(path=picture)
            await browser.close()
        for wire in reader.wires:
            await wire.close()
        await server.kill()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
