"""Sections of the output: folded, open, nested, timed; also in a stream of gigabytes."""

import asyncio
import os
import re

import pytest
from playwright.async_api import Page, expect
from tests.page.conftest import Fetched, Reader

SUCCESS = {"X-Stream-Metadata": '{"exit_code": 0}'}
BUILD = (
    b"hello\n"
    b"::group::Install\n" + b"".join(b"package %d\n" % n for n in range(1, 31)) + b"::endgroup::\n"
    b"::group::Test\nfirst\n::group::Inner\nfine\n::endgroup::\n"
    b"::error file=a.py,line=3::wrong sum\n::endgroup::\n"
    b"::warning::old compiler\nlast\n"
)  # fmt: skip


def row(line):
    return f'.row[data-line="{line}"]'


async def texts(page: Page) -> list[str]:
    """Return the visible texts of the rows, without what sections report about themselves."""
    return list(await page.locator(".row:not(.section) .x, .row .title").all_text_contents())


async def test_sections_are_folded_unless_they_hold_an_error(reader: Reader):
    await reader.stored("build", BUILD, **SUCCESS)
    page = await reader.open("/ui/stream/build")
    await expect(page.locator(".row")).to_have_count(8)
    assert await texts(page) == [
        "hello", "Install", "Test", "first", "Inner", "errora.py:3: wrong sum", "warningold compiler", "last",
    ]  # fmt: skip
    await expect(page.locator(".row.section").first.locator(".tally")).to_contain_text("30 lines")
    await expect(page.locator(row(34)).locator(".tally")).to_contain_text("1 error")
    await expect(page.locator("#errors")).to_have_text("1 error, 1 warning")
    assert await page.locator(".row.error, .row.warning").count() == 2

    # By mouse and by keyboard; the focus stays on the title.
    await page.locator(row(2)).locator(".fold").click()
    await expect(page.locator(row(3)).locator(".x")).to_have_text("package 1")
    await expect(page.locator(".fold[aria-expanded=true]").first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(row(3))).to_have_count(0)
    await page.keyboard.press("X")
    await expect(page.locator(row(3))).to_have_count(1)
    await page.keyboard.press("X")
    await expect(page.locator(".row")).to_have_count(5)

    # A linked line opens the sections around it.
    await page.evaluate("location.hash = '#L37'")
    await expect(page.locator(f"{row(37)}.picked .x")).to_have_text("fine")

    # The markers are in the bytes, and raw shows them.
    await page.keyboard.press("r")
    await expect(page.locator(row(32)).locator(".x")).to_have_text("package 30")
    await expect(page.locator(row(2)).locator(".x")).to_have_text("::group::Install")
    await expect(page.locator(row(33)).locator(".x")).to_have_text("::endgroup::")


async def test_the_keyboard_alone_reaches_and_opens_every_section(reader: Reader):
    groups = b"".join(b"::group::Step %d\nline\n::endgroup::\n" % n for n in range(1, 101))
    await reader.stored("build", groups, **SUCCESS)
    page = await reader.open("/ui/stream/build")
    await expect(page.locator(".row.section .title").first).to_have_text("Step 1")
    reached = page.locator('.fold[tabindex="0"]')
    await expect(reached).to_have_text("Step 1")
    await page.locator("#log").focus()
    await page.keyboard.press("Tab")
    await expect(reached).to_be_focused()
    for key, text in (("]", "Step 2"), ("]", "Step 3"), ("[", "Step 2")):
        await page.keyboard.press(key)
        await expect(page.locator(".fold:focus")).to_have_text(text)
        await expect(reached).to_have_text(text)
    for key, opened in (("Enter", "true"), ("Space", "false"), ("x", "true")):
        await page.keyboard.press(key)
        await expect(page.locator(".fold:focus")).to_have_text("Step 2")
        await expect(page.locator(".fold:focus")).to_have_attribute("aria-expanded", opened)
    # Away and back: the same one; after a move of the page, the first one in view.
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Tab")
    await expect(page.locator(".fold:focus")).to_have_text("Step 2")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("End")
    await expect(page.locator(".row.section .title").last).to_have_text("Step 100")
    await page.keyboard.press("Tab")
    await expect(page.locator(".fold:focus")).to_be_in_viewport()
    assert await reached.count() == 1


async def test_the_current_section_of_a_live_stream_is_open(reader: Reader):
    producer = await reader.live("live", b"::group::One\na\n")
    page = await reader.open("/ui/stream/live")
    await expect(page.locator(".row")).to_have_count(2)
    await asyncio.sleep(2.5)  # the section takes a time that the page can show
    await producer.chunk(b"b\n::endgroup::\n::group::Two\nc\n")
    await expect(page.locator(".row .title")).to_have_text(["One", "Two"])
    await expect(page.locator(".row")).to_have_count(3)
    await expect(page.locator(row(1)).locator(".tally")).to_have_text(re.compile(r"^2 lines[2-9]s$"))
    await page.keyboard.press("g")
    await page.locator(row(5)).locator(".fold").click()
    await expect(page.locator(".row")).to_have_count(2)
    await producer.chunk(b"d\n::endgroup::\ne\n")
    await expect(page.locator(row(9)).locator(".x")).to_have_text("e")
    await expect(page.locator(".row")).to_have_count(3)


async def test_what_the_reader_looks_at_stays_open_when_its_section_ends(reader: Reader):
    lines = b"".join(b"line %d\n" % n for n in range(500))
    producer = await reader.live("live", b"::group::One\n" + lines)
    page = await reader.open("/ui/stream/live")
    await expect(page.locator(row(501))).to_be_in_viewport()
    await page.locator("#log").hover()
    await page.mouse.wheel(0, -3000)
    await expect(page.locator("#follow")).to_be_visible()
    seen = await page.locator(".row .n").first.text_content()
    await producer.chunk(b"::endgroup::\n::group::Two\nlast\n")
    await expect(page.locator("#facts")).to_contain_text("504 lines")
    await page.keyboard.press("]")
    await expect(page.locator(row(503))).to_be_in_viewport()
    await page.keyboard.press("[")
    await expect(page.locator(f"{row(1)}.open")).to_be_in_viewport()
    assert seen is not None


async def test_sections_of_gitlab_and_buildkite(reader: Reader):
    gitlab = (
        b"\x1b[0Ksection_start:1700000000:prep\r\x1b[0K\x1b[36;1mPreparing\x1b[0m\na\n"
        b"\x1b[0Ksection_end:1700000072:prep\r\x1b[0K\x1b[0Ksection_start:1700000072:run\r\x1b[0KRunning\nb\n"
        b"\x1b[0Ksection_end:1700000080:run\r\x1b[0K\ndone\n"
    )
    await reader.stored("gitlab", gitlab, **SUCCESS)
    page = await reader.open("/ui/stream/gitlab")
    await expect(page.locator(".row")).to_have_count(3)
    assert await texts(page) == ["Preparing", "Running", "done"]
    await expect(page.locator(row(1)).locator(".tally")).to_have_text("1 line1m 12s")
    buildkite = b"~~~ Setup\na\n--- :docker: Build\nb\n+++ Test\nc\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n"
    await reader.stored("buildkite", buildkite, **SUCCESS)
    page = await reader.open("/ui/stream/buildkite")
    await expect(page.locator(".row")).to_have_count(7)
    assert await texts(page) == ["Setup", ":docker: Build", "Test", "c", "--- a/x", "+++ b/x", "@@ -1 +1 @@"]


SIZE = int(os.environ.get("LOOM_SECTIONS_MIB", "64"))
"""Of the large stream, in MiB. The shape is that of `make sections`, which has 2 GiB and takes minutes."""
LINE = b"%09d 2026-11-23T22:00:00Z worker-7 GET /api/v1/items?page=3 200 0.0123 and more text to fill it\n"
EACH = 10_000
"""Lines of a section."""


@pytest.mark.timeout(max(120, SIZE))
async def test_sections_and_errors_of_a_large_stream_are_found_without_downloading_it(reader: Reader):
    size = SIZE << 20
    body = b"".join(LINE % n for n in range(EACH))
    count = size // len(body)
    producer = await reader.live("large", b"")
    for number in range(1, count + 1):
        wrong = b"error: the only one\n" if number == count * 2 // 3 else b""
        await producer.chunk(b"::group::Step %d\n%b%b::endgroup::\n" % (number, body, wrong))
    await reader.patch("large", b'{"exit_code": 1}')
    await producer.chunk(b"")
    assert await producer.body() == b""
    page = await reader.open("/ui/")
    fetched = Fetched(page, "large")
    await page.goto(f"{reader.server.url}/ui/stream/large")
    line = (EACH + 2) * (count * 2 // 3)
    await expect(page.locator(f"{row(line)}.error.picked")).to_be_in_viewport(timeout=SIZE * 100 + 20_000)
    await expect(page.locator("#errors")).to_have_text("1 error")
    await page.keyboard.press("g")
    await expect(page.locator(row(1)).locator(".title")).to_have_text("Step 1")
    await page.keyboard.press("End")
    await expect(page.locator(".row.section").last.locator(".title")).to_have_text(
        f"Step {count}", timeout=60_000
    )
    assert await page.locator(".row").count() < 100
    assert fetched.bytes < 8 << 20
