"""The example of the documentation in a browser: an answer of a model that survives a reload of the page."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect
from tests.page.conftest import FLAGS
from tests.support.program import Program, environment
from tests.support.running import ONE_STORE, Loom, Serve

EXAMPLE = Path(__file__).parents[2] / "examples/tokens/serve.py"
QUESTION = "Does it survive?"
ANSWER = f"You asked: {QUESTION} A stream keeps every token: reload this page as often as you like."


async def ask(browser: Browser, url: str) -> Page:
    page = await browser.new_page()
    await page.goto(url)
    await page.get_by_label("Question").fill(QUESTION)
    await page.get_by_role("button", name="Ask").click()
    return page


@ONE_STORE
async def test_an_answer_survives_a_reload_and_is_the_same_for_everyone(serve: Serve, tool: Any):
    loom: Loom = await serve(cors_origins=["*"])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "0"),
        env=environment() | {"LOOM": loom.url, "PAUSE": "0.05"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = (await Program(process).line()).strip()
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=tool("chromium"), args=list(FLAGS))
            page = await ask(browser, url)
            await expect(page.locator("#answer")).to_contain_text("You asked", timeout=20_000)
            assert await page.locator("#state").text_content() != "complete"
            await page.reload()
            other = await browser.new_page()
            await other.goto(page.url)
            for each in (page, other):
                await expect(each.locator("#state")).to_have_text("complete", timeout=20_000)
                assert (await each.locator("#answer").text_content() or "").strip() == ANSWER
            id = re.sub(".*#", "", page.url)
            await browser.close()
        wire = await loom.get(f"/stream/{id}")
        assert (await wire.body()).decode().strip() == ANSWER
    finally:
        process.kill()
        await process.wait()
