"""The page of a failed build: it opens at the first error, and links to it."""

import json
import os
import re
from pathlib import Path
from time import monotonic

import pytest
from playwright.async_api import Page, expect
from tests.page.conftest import Reader, Start
from tests.page.outputs import c_output, github_output, npm_output, pytest_output

FAILURE = {"X-Stream-Metadata": json.dumps({"commit": "3f2a91c", "branch": "main", "exit_code": 2})}
SUCCESS = {"X-Stream-Metadata": '{"exit_code": 0}'}
PICTURES = os.environ.get("LOOM_PICTURES")
"""A folder for pictures of these pages, for people to look at."""
SIZES = {"wide": (1440, 900), "phone": (390, 844)}


def row(line):
    return f'.row[data-line="{line}"]'


async def picture(page: Page, name: str) -> None:
    if not PICTURES:
        return
    for size, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.wait_for_timeout(300)
            await page.screenshot(path=Path(PICTURES) / f"{name}-{size}-{scheme}.png")


async def test_from_the_list_to_the_link_of_the_failing_line_in_two_clicks(reader: Reader, tool, tmp_path):
    await reader.stored("builds/41", b"all is well\n" * 50, **SUCCESS)
    await reader.stored("builds/42", github_output(tmp_path, tool), **FAILURE)
    page = await reader.open("/ui/")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    actions = 0

    async def click(selector: str) -> None:
        nonlocal actions
        actions += 1
        await page.locator(selector).click()

    await expect(page.locator("tbody tr:has(.failure) a")).to_be_visible()
    began = monotonic()
    await click("tbody tr:has(.failure) a")
    first = page.locator(".row.error").first
    await expect(first).to_be_in_viewport()
    await expect(first).to_contain_text("main.c:8:12")
    await expect(first).to_contain_text("error:")
    await expect(page.locator(".row.section.closed .title").first).to_have_text("Run actions/checkout")
    line = await first.get_attribute("data-line")
    await click("#link")
    await expect(page.locator("#toast")).to_be_visible()
    assert actions == 2
    print(f"\nFrom the list to the link of the failing line: {actions} clicks, {monotonic() - began:.1f} s")  # noqa: T201

    address = await page.evaluate("navigator.clipboard.readText()")
    assert address == f"{reader.server.url}/ui/stream/builds/42#L{line}"
    other = await reader.open(address.removeprefix(reader.server.url))
    await expect(other.locator(f"{row(line)}.error.picked")).to_be_in_viewport()
    await expect(other.locator(row(line))).to_contain_text("main.c:8:12")


async def test_e_steps_through_the_errors(reader: Reader):
    text = b"".join(b"error: %d\n" % n if n % 1000 == 0 else b"line %d\n" % n for n in range(1, 3101))
    await reader.stored("three", text + b"a.c:1:2: warning: w\n", **FAILURE)
    page = await reader.open("/ui/stream/three")
    await expect(page.locator("#errors")).to_have_text("3 errors, 1 warning")
    for key, line in (("", 1000), ("e", 2000), ("e", 3000), ("e", 1000), ("E", 3000), ("E", 2000)):
        if key:
            await page.keyboard.press(key)
        await expect(page.locator(f"{row(line)}.error.picked")).to_be_in_viewport()
        await expect(page).to_have_url(re.compile(f"#L{line}$"))
    await page.locator("#errors").click()
    await expect(page.locator(f"{row(3000)}.error.picked")).to_be_in_viewport()


async def test_where_the_page_opens(reader: Reader):
    lines = b"".join(b"line %d\n" % n for n in range(1, 2001))
    await reader.stored("well", lines + b"error: but the build went well\n", **SUCCESS)
    page = await reader.open("/ui/stream/well")
    await expect(page.locator("#errors")).to_have_text("1 error")
    await expect(page.locator(row(1))).to_be_in_viewport()
    await reader.stored("silent", lines, **FAILURE)
    page = await reader.open("/ui/stream/silent")
    await expect(page.locator(row(2000))).to_be_in_viewport()
    await reader.stored("linked", b"error: first\n" + lines, **FAILURE)
    page = await reader.open("/ui/stream/linked#L900")
    await expect(page.locator(row(900))).to_be_in_viewport()
    await expect(page.locator("#errors")).to_have_text("1 error")
    await expect(page.locator(row(1))).not_to_be_in_viewport()
    await reader.live("live", b"error: first\n" + lines)
    page = await reader.open("/ui/stream/live")
    await expect(page.locator(row(2001))).to_be_in_viewport()


async def test_errors_are_counted_once_across_lost_connections_and_skipped_parts(start: Start):
    reader = await start(resume_window=60)
    part = b"".join(b"line %d of a part that is longer than what the page reads\n" % n for n in range(20_000))
    part += b"::group::Step\nerror: one\n::endgroup::\n"
    await reader.live("lost", part * 3)
    page = await reader.open("/ui/stream/lost")
    await expect(page.locator("#errors")).to_have_text("3 errors")
    await reader.server.kill()
    await expect(page.locator("#connection")).to_contain_text("Connection lost")
    await reader.restart()
    producer = await reader.live_on("lost", 3 * len(part), part * 2 + b"error: at last")
    await expect(page.locator("#errors")).to_have_text("5 errors")
    await producer.chunk(b"")
    await expect(page.locator("#errors")).to_have_text("6 errors")
    await expect(page.locator("#facts")).to_contain_text(f"{5 * 20_003 + 1:,} lines")
    again = await reader.open("/ui/stream/lost")
    await expect(again.locator("#errors")).to_have_text("6 errors")
    await again.keyboard.press("X")
    await again.keyboard.press("g")
    await again.keyboard.press("e")
    await expect(again.locator(f"{row(20_002)}.error.picked .x")).to_have_text("error: one")


OUTPUTS = {
    "pytest": (lambda folder, tool: pytest_output(folder), "2 errors", "one is added"),
    "npm": (npm_output, "[12] errors?", "Cannot find module"),
    "c": (c_output, "2 errors, 2 warnings", "main.c:8:"),
    "github": (github_output, "5 errors, 3 warnings", "error:"),
}


@pytest.mark.parametrize("name", OUTPUTS)
async def test_real_outputs(reader: Reader, tool, tmp_path, name):
    make, errors, text = OUTPUTS[name]
    await reader.stored(f"builds/main/42/{name}", make(tmp_path, tool), **FAILURE)
    page = await reader.open(f"/ui/stream/builds/main/42/{name}")
    await expect(page.locator("#errors")).to_contain_text(re.compile("^[1-9]"))
    await expect(page.locator(".row.error.picked")).to_be_in_viewport()
    await picture(page, name)
    await expect(page.locator("#errors")).to_have_text(re.compile(f"^{errors}$"))
    await expect(page.locator("#layer")).to_contain_text(text)
