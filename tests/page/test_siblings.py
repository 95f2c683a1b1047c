"""The streams of a folder on one page: a list beside the output, and two of them side by side."""

import re

from playwright.async_api import expect
from tests.page.conftest import Reader

LINES = b"".join(b"line %d\n" % number for number in range(1, 501))


async def test_a_folder_is_listed_beside_its_streams_and_stays_current(reader: Reader):
    for name, code in (("build", 0), ("test", 1)):
        await reader.stored(f"main/42/{name}", LINES, **{"X-Stream-Metadata": f'{{"exit_code": {code}}}'})
    await reader.stored("main/41/build", LINES)
    page = await reader.open("/ui/stream/main/42/test")
    items = page.locator("#siblings-list li")
    await expect(items).to_have_count(2)
    await expect(items.nth(0)).to_contain_text(re.compile("build.*success.*4.3 KiB"))
    await expect(items.nth(1).locator("a")).to_have_attribute("aria-current", "page")
    producer = await reader.live("main/42/deploy", LINES)
    await expect(items.nth(2)).to_contain_text(re.compile("deploy.*live"))
    await producer.chunk(b"")
    await expect(items.nth(2)).to_contain_text(re.compile("deploy.*complete"))
    await page.keyboard.press("J")
    await expect(page.locator("#name")).to_have_text("main/42/deploy")
    await expect(items).to_have_count(3)
    await page.keyboard.press("K")
    await expect(page.locator("#name")).to_have_text("main/42/test")
    await expect(items).to_have_count(3)
    await page.keyboard.press("l")
    await expect(page.locator("#siblings")).to_be_hidden()
    await page.reload()
    await expect(page.locator(".row").first).to_be_visible()
    await expect(page.locator("#siblings")).to_be_hidden()


async def test_a_stream_alone_in_its_folder_has_no_list(reader: Reader):
    await reader.stored("alone", LINES)
    await reader.stored("main/42/build", LINES)
    for id in ("alone", "main/42/build"):
        page = await reader.open(f"/ui/stream/{id}")
        await expect(page.locator(".row").first).to_be_visible()
        await expect(page.locator("#siblings")).to_be_hidden()


async def test_two_streams_side_by_side(reader: Reader):
    await reader.stored("main/42/test", LINES)
    producer = await reader.live("main/42/server", LINES)
    page = await reader.open("/ui/stream/main/42/test")
    await page.locator("#siblings-list li", has_text="server").hover()
    await page.get_by_role("button", name="Show server beside").click()
    beside = page.locator("#beside")
    await expect(beside.locator(".row").last).to_contain_text("line 500")
    await producer.chunk(b"one more\n")
    await expect(beside.locator(".row").last).to_contain_text("one more")
    await expect(page.locator("#log .row").first).to_contain_text("line 1")
    await expect(page).to_have_url(re.compile(r"\?beside=main%2F42%2Fserver$"))
    await page.reload()
    await expect(beside.locator(".row").last).to_contain_text("one more")
    await producer.chunk(b"")
    await expect(beside.locator("header .state")).to_have_text("complete")
    await beside.locator('.row .n[href="#L490"]').click()
    await expect(page.locator("#name")).to_have_text("main/42/server")
    await expect(page.locator(".row.picked .x")).to_have_text("line 490")
    await page.go_back()
    await beside.get_by_role("button", name="Close").click()
    await expect(beside).to_be_hidden()
    await expect(page).to_have_url(re.compile("/main/42/test$"))
