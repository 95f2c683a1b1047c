"""A stream of 2 GiB and 23 million lines, and one that grows fast."""

import pytest
from playwright.async_api import expect
from tests.page.conftest import Fetched, Reader

MIB = 1 << 20
LINE = b"%09d 2026-11-23T22:00:00Z worker-7 GET /api/v1/items?page=3 200 0.0123 and more text to fill it\n"
COUNT = 23_000_000
BLOCK = 100_000


@pytest.mark.timeout(300)
async def test_only_the_visible_part_of_a_large_stream_is_fetched_and_in_the_page(reader: Reader):
    producer = await reader.live("large", b"")
    for first in range(1, COUNT + 1, BLOCK):
        await producer.chunk(
            b"".join(LINE % number for number in range(first, min(first + BLOCK, COUNT + 1)))
        )
    await producer.chunk(b"")
    assert await producer.body() == b""
    page = await reader.open("/ui/")
    fetched = Fetched(page, "large")
    await page.goto(f"{reader.server.url}/ui/stream/large")
    await expect(page.locator("#facts")).to_contain_text(f"{COUNT:,} lines")
    await expect(page.locator('.row[data-line="1"] .x')).to_contain_text("000000001 ")
    for line in (COUNT, COUNT // 2, 123_456):
        await page.evaluate(f"location.hash = '#L{line}'")
        await expect(page.locator(f'.row[data-line="{line}"] .x')).to_contain_text(f"{line:09d} ")
    await page.locator("#log").hover()
    await page.mouse.wheel(0, 400)
    await expect(page.locator('.row[data-line="123476"] .x')).to_contain_text("000123476 ")
    await page.evaluate("document.querySelector('#log').scrollTop = 1e9")
    await expect(page.locator(f'.row[data-line="{COUNT}"]')).to_be_in_viewport()
    await page.keyboard.press("/")
    await page.locator("#find").fill("011500000 ")
    await expect(page.locator("#found")).to_have_text("1 / 1", timeout=60_000)
    await expect(page.locator('.row[data-line="11500000"] .hit')).to_be_visible()
    assert await page.locator(".row").count() < 100
    assert await page.evaluate("document.querySelectorAll('*').length") < 1000
    assert fetched.bytes < 8 * MIB


async def test_a_fast_stream_keeps_the_page_responsive_and_its_memory_bounded(reader: Reader):
    producer = await reader.live("fast", LINE % 0)
    page = await reader.open("/ui/stream/fast")
    await expect(page.locator("#state")).to_have_text("live")
    block = b"".join(LINE % number for number in range(20_000))
    for _ in range(20):
        await producer.chunk(block)
    await expect(page.locator("#facts")).to_contain_text("400,001 lines")
    await expect(page.locator('.row[data-line="400001"]')).to_be_in_viewport()
    assert await page.locator(".row").count() < 100
    client = await page.context.new_cdp_session(page)
    await client.send("HeapProfiler.collectGarbage")
    used = await client.send("Runtime.getHeapUsage")
    assert used["usedSize"] + used["backingStorageSize"] < 40 * MIB
