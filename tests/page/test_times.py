"""Times of arrival on the page, of a stream whose true times the test knows."""

import asyncio
import time
from datetime import UTC, datetime

import pytest
from playwright.async_api import Page, expect
from tests.page.conftest import Reader


async def shown(page: Page, count: int) -> list[str]:
    """Return the times of the first lines, once all are there."""
    await expect(page.locator(".row .t:not(:empty)")).to_have_count(count)
    return await page.locator(".row .t").all_text_contents()


def near(text: str, true: float) -> bool:
    """Return true if a time of day is that of `true`, or up to a second earlier."""
    return text in {datetime.fromtimestamp(true - part, UTC).strftime("%H:%M:%S") for part in (0.0, 0.5, 1.0)}


@pytest.mark.timeout(90)
async def test_lines_have_their_true_times_of_arrival_live_later_and_after_a_restart(reader: Reader):
    # The lines of many seconds lie between two places of the index; only real time passes on the server.
    true = [time.time()]
    producer = await reader.live("slow", b"line 1\n")
    page = await reader.open("/ui/stream/slow", timezone_id="UTC")
    await page.keyboard.press("t")
    for number in range(2, 6):
        await asyncio.sleep(1.5)
        true.append(time.time())
        await producer.chunk(b"line %d\n" % number)
    texts = await shown(page, 5)
    assert all(map(near, texts, true)), (texts, true)
    assert len(set(texts)) == 5
    await page.keyboard.press("t")
    await expect(page.locator("#times")).to_have_text("Elapsed")
    elapsed = [int(text.split(":")[1]) for text in await shown(page, 5)]
    for seconds, at in zip(elapsed, true, strict=True):
        assert abs(seconds - (at - true[0])) <= 1.0
    await producer.chunk(b"")
    await expect(page.locator("#state")).to_have_text("complete")
    await reader.restart()
    later = await reader.open("/ui/stream/slow", timezone_id="UTC")
    await later.keyboard.press("t")
    again = await shown(later, 5)
    assert again[:4] == texts[:4]
    # The server was killed: a time of the last second before may be lost, and the page says so.
    last = later.locator(".row .t").last
    assert again[4] == texts[4] or (await last.get_attribute("title") or "").startswith("Between ")
    await page.reload()
    await expect(page.locator("#times")).to_have_text("Elapsed")
    await page.keyboard.press("t")
    await expect(page.locator(".row .t")).to_have_count(0)
