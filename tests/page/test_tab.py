"""How a stream stands and how long it took: in the header, in the tab, and as a notification."""

import re
from urllib.parse import unquote

from playwright.async_api import Page, expect
from tests.page.conftest import Reader, Start

HIDE = "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
TURN = "document.dispatchEvent(new Event('visibilitychange'))"
NOTIFICATIONS = """
    window.notified = [];
    window.Notification = class extends EventTarget {
        static requestPermission = async () => 'granted';
        constructor(title, options) { super(); window.notified.push([title, options.body]); }
    };
"""


async def icon(page: Page) -> str:
    return unquote(await page.locator("link[rel=icon]").get_attribute("href") or "")


async def finish(reader: Reader, id: str, size: int) -> None:
    """End a stream whose producer was lost."""
    wire = await reader.connect()
    fields = {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": str(size),
        "Upload-Complete": "?1",
    }
    await wire.request("PATCH", f"/stream/{id}", b"", **fields)
    assert (await wire.answer()).status == 204


async def test_title_and_icon_show_how_a_stream_stands(start: Start):
    reader = await start(resume_window=3600)
    producer = await reader.live("job", b"one\n")
    page = await reader.open("/ui/stream/job")
    await expect(page).to_have_title("● job · Loom")
    await expect(page.locator("#facts")).to_contain_text("so far")
    await expect(page.locator("#facts")).to_contain_text("3s so far")
    await expect(page.locator("#waits")).to_have_text("")
    await producer.close()
    waits = re.compile(r"^waits for its producer until ")
    await expect(page.locator("#waits")).to_have_text(waits)
    await expect(page).to_have_title("▲ job · Loom")
    before = await icon(page)
    await reader.patch("job", b'{"exit_code": 1}')
    await finish(reader, "job", 4)
    await expect(page).to_have_title("✗ job · Loom")
    assert await icon(page) != before
    assert "#dc2626" in await icon(page)
    await expect(page.locator("#facts")).to_contain_text("took ")
    await expect(page.locator("#metadata")).to_contain_text("exit_code1")
    await expect(page.locator("#waits")).to_have_text("")


async def test_a_page_in_the_background_notifies_its_reader_of_the_end(start: Start):
    reader = await start(resume_window=3600)
    producer = await reader.live("job", b"one\n")
    page = await reader.open("/ui/")
    await page.add_init_script(NOTIFICATIONS)
    await page.goto(f"{reader.server.url}/ui/stream/job")
    await page.locator("#notify").click()
    await expect(page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    await page.evaluate(f"{HIDE}; {TURN}")
    await producer.close()
    await reader.patch("job", b'{"exit_code": 0}')
    await finish(reader, "job", 4)
    await expect(page).to_have_title("✓ job · Loom")
    [[title, body]] = await page.evaluate("window.notified")
    assert (title, bool(re.fullmatch(r"success after \d+s", body))) == ("✓ job", True)
    await expect(page.locator("#notify")).to_be_hidden()
