"""All live streams of a prefix, woven into one view."""

from playwright.async_api import Page, expect
from tests.page.conftest import Reader, Start


async def woven(page: Page) -> dict[str, list[str]]:
    """Return the lines in the page by the name of their stream."""
    texts = "rows => rows.map(row => ['.name', '.x'].map(part => row.querySelector(part).textContent))"
    rows = await page.locator(".woven .row").evaluate_all(texts)
    lines: dict[str, list[str]] = {}
    for name, text in rows:
        lines.setdefault(name, []).append(text)
    return lines


async def test_live_streams_of_a_prefix_are_woven_over_one_connection(reader: Reader):
    lines = b"".join(b"line %d\n" % number for number in range(1, 31))
    await reader.stored("build/7/lint", lines)
    test = await reader.live("build/7/test", lines + b"unfin")
    await reader.live("build/8/test", lines)
    page = await reader.open("/ui/stream/build/7/lint")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_role("link", name="1 live stream in one view").click()
    await expect(page.locator(".row")).to_have_count(9)
    await test.chunk(b"ished\nnext\n")
    await expect(page.locator(".row .x").last).to_have_text("next")
    docs = await reader.live("build/7/docs", b"\x1b[31mred\x1b[0m\n")
    await expect(page.locator(".row .x .fg")).to_have_text("red")
    await expect(page.locator("#facts")).to_have_text("2 live streams")
    await reader.patch("build/7/docs", b'{"exit_code": 1}')
    await docs.chunk(b"no line end")
    await docs.chunk(b"")
    await expect(page.locator(".row .state")).to_have_text("failure")
    shown = await woven(page)
    assert shown == {
        "test": [*(f"line {number}" for number in range(22, 31)), "unfinished", "next"],
        "docs": ["red", "no line end", "failure"],
    }
    assert sum("/spy" in url for url in asked) == 1
    await page.locator(".name", has_text="test").first.click()
    await expect(page.locator("#name")).to_have_text("build/7/test")


async def test_nothing_is_missing_after_the_server_was_killed(start: Start):
    reader = await start(resume_window=3600)
    first = b"".join(b"line %d\n" % number for number in range(1, 5))
    await reader.live("build/a", first)
    await reader.live("build/b", first)
    page = await reader.open("/ui/live/build/")
    await expect(page.locator(".row")).to_have_count(8)
    await reader.server.kill()
    await expect(page.locator("#connection")).to_contain_text("Connection lost")
    hold = "window.held = fetch; window.fetch = () => Promise.reject(new TypeError('held'))"
    await page.evaluate(f"() => {{ {hold} }}")
    await reader.restart()
    await reader.live_on("build/a", len(first), b"line 5\nline 6\n")
    other = await reader.live_on("build/b", len(first), b"last")
    await other.chunk(b"")
    assert (await other.answer()).status < 300
    await page.evaluate("() => { window.fetch = window.held }")
    await expect(page.locator(".row .state")).to_have_text("complete")
    await expect(page.locator(".row .x", has_text="line 6")).to_have_count(1)
    numbered = [f"line {number}" for number in range(1, 7)]
    assert await woven(page) == {"a": numbered, "b": [*numbered[:4], "last", "complete"]}


async def test_a_flood_keeps_the_page_small_and_the_reader_in_place(reader: Reader):
    producer = await reader.live("flood", b"begin\n")
    page = await reader.open("/ui/live/")
    await expect(page.locator(".row")).to_have_count(1)
    for _ in range(10):
        await producer.chunk(b"".join(b"line %d\n" % number for number in range(5000)))
    await producer.chunk(b"after the flood\n")
    await expect(page.locator(".row .x").last).to_have_text("after the flood")
    await expect(page.locator(".row .x").last).to_be_in_viewport()
    assert await page.locator(".row").count() <= 4000
    await page.locator("#log").hover()
    await page.mouse.wheel(0, -2000)
    await expect(page.locator("#follow")).to_be_visible()
    await producer.chunk(b"later\n")
    await expect(page.locator(".row .x").last).to_have_text("later")
    await expect(page.locator(".row .x").last).not_to_be_in_viewport()
    await page.keyboard.press("f")
    await expect(page.locator(".row .x").last).to_be_in_viewport()
    await page.locator("#clear").click()
    await expect(page.locator(".row")).to_have_count(0)
