"""The outcome of a stream, on both pages."""

from playwright.async_api import expect
from tests.page.conftest import Reader


async def test_a_watcher_sees_the_outcome_that_comes_with_the_end(reader: Reader):
    producer = await reader.live("build", b"working\n")
    listing = await reader.open("/ui/")
    page = await reader.open("/ui/stream/build")
    await expect(page.locator("#state")).to_have_text("live")
    await reader.patch("build", b'{"exit_code": 2}')
    await expect(page.locator("#metadata")).to_contain_text("exit_code")
    await producer.chunk(b"")
    for state in (page.locator("#state"), listing.locator("tbody .state")):
        await expect(state).to_have_text("failure")
        await expect(state).to_have_attribute("title", "failure: exit code 2")


async def test_a_watcher_sees_the_outcome_that_comes_after_the_end(reader: Reader):
    await reader.stored("build", b"done\n")
    listing = await reader.open("/ui/")
    page = await reader.open("/ui/stream/build")
    for state in (page.locator("#state"), listing.locator("tbody .state")):
        await expect(state).to_have_text("complete")
    await reader.patch("build", b'{"exit_code": 0}')
    for state in (page.locator("#state"), listing.locator("tbody .state")):
        await expect(state).to_have_text("success")


async def test_an_interrupted_stream_says_until_when_it_waits(reader: Reader):
    producer = await reader.live("cut", b"half\n")
    await producer.close()
    page = await reader.open("/ui/")
    state = page.locator("tbody .state")
    await expect(state).to_have_text("interrupted")
    title = await state.get_attribute("title")
    assert title is not None
    assert title.startswith("interrupted: waits for its producer until ")
