import asyncio
import json

from playwright.async_api import Page, expect
from tests.page.conftest import Reader, Start


async def test_live_streams_come_first_and_the_list_follows_changes(reader: Reader):
    producer = await reader.live("a/live", b"x")
    await reader.stored(
        "a/done", b"y", **{"X-Stream-Metadata": '{"commit": "3f2a91c", "<i>": "<b>bold</b>"}'}
    )
    page = await reader.open("/ui/")
    rows = page.locator("tbody tr")
    await expect(rows.locator(".id")).to_have_text(["a/live", "a/done"])
    await expect(rows.nth(1).locator(".meta")).to_have_text(["3f2a91c", "<b>bold</b>"])
    await reader.live("b/new")
    await expect(rows.locator(".id")).to_have_text(["b/new", "a/live", "a/done"])
    await producer.chunk(b"")
    await expect(rows.locator(".state")).to_have_text(["live", "complete", "complete"])
    wire = await reader.request("DELETE", "/stream/a/done")
    assert wire.head.status == 204
    await expect(rows.locator(".id")).to_have_text(["b/new", "a/live"])


async def test_filters_and_pages(reader: Reader):
    for number in range(103):
        await reader.stored(f"many/{number}", b"", **{"X-Stream-Metadata": f'{{"half": "{number % 2}"}}'})
    await reader.live("other/live")
    page = await reader.open("/ui/")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(100)
    await expect(rows.first.locator(".id")).to_have_text("other/live")
    await page.keyboard.press("n")
    await expect(rows.locator(".id")).to_have_text([f"many/{number}" for number in (3, 2, 1, 0)])
    await expect(page.locator("#place")).to_have_text("101–104 of 104")
    await page.keyboard.press("/")
    await page.keyboard.type("many/ half=1")
    await expect(rows).to_have_count(51)
    await expect(page.locator("#total")).to_have_text("51 streams")
    await page.locator("#states button[value=live]").click()
    await expect(page.locator("#empty")).to_contain_text("No stream matches this filter")
    await page.reload()
    await expect(page.locator("#filter")).to_have_value("many/ half=1 state:live")
    await page.locator("#filter").fill("other/")
    await expect(rows).to_have_count(1)
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.locator("#name")).to_have_text("other/live")


async def test_folders_lead_down_and_breadcrumbs_up(reader: Reader):
    for id in ("builds/main/1/unit", "builds/main/1/lint", "builds/main/2/unit", "top"):
        metadata = f'{{"exit_code": {id.endswith("2/unit"):d}}}'
        await reader.stored(id, b"", **{"X-Stream-Metadata": metadata})
    page = await reader.open("/ui/")
    folders = page.locator(".folder")
    await expect(folders.locator(".name")).to_have_text(["builds/"])
    await expect(folders.locator(".many")).to_have_text("1 failed3")
    await expect(folders.locator(".state")).to_have_text("failure")
    await expect(page.locator("#total")).to_have_text("4 streams")
    await folders.click()
    await page.locator(".folder").click()
    await expect(folders.locator(".name")).to_have_text(["2/", "1/"])
    await expect(page.locator("#crumbs li")).to_have_text(["All streams", "builds", "main"])
    await expect(page.locator("tbody .id")).to_have_text(["2/unit", "1/lint", "1/unit"])
    await reader.live("builds/main/3/unit")
    await reader.live("elsewhere")
    await expect(folders.locator(".name")).to_have_text(["3/", "2/", "1/"])
    await expect(page.locator("tbody .id")).to_have_text(["3/unit", "2/unit", "1/lint", "1/unit"])
    await page.keyboard.press("/")
    await page.keyboard.type("lint")
    await expect(page.locator("tbody .id")).to_have_text(["1/lint"])
    await expect(page.locator("#folders")).to_be_hidden()
    await page.locator("#crumbs a").first.click()
    await expect(page.locator("tbody tr")).to_have_count(6)


async def test_a_filter_with_a_mistake_lists_nothing_and_says_what_is_wrong(reader: Reader):
    await reader.stored("a", b"")
    page = await reader.open("/ui/?filter=state:bogus")
    await expect(page.locator("#empty")).to_contain_text("There is no state or outcome “bogus”")
    await page.locator("#empty button").click()
    await expect(page.locator("tbody .id")).to_have_text(["a"])


async def test_an_empty_server_shows_a_command_that_fills_it(reader: Reader):
    page = await reader.open("/ui/")
    command = page.locator("#empty code").first
    await expect(command).to_contain_text(f"{reader.server.url}/stream/hello")
    done = await asyncio.create_subprocess_shell(
        await command.inner_text(), stdout=asyncio.subprocess.DEVNULL
    )
    assert await done.wait() == 0
    await expect(page.locator("tbody .id")).to_have_text(["hello"])


async def test_the_columns_are_the_common_keys_until_the_reader_chooses(reader: Reader):
    for number in range(6):
        metadata = json.dumps({"branch": "main", "exit_code": 0} | ({"rare": 1} if number == 5 else {}))
        await reader.stored(f"b{number}", b"", **{"X-Stream-Metadata": metadata})
    page = await reader.open("/ui/")
    await expect(page.locator("th.meta")).to_have_text(["branch"])
    await page.locator("#columns").click()
    await page.get_by_label("branch").uncheck()
    await page.get_by_label("rare").check()
    await page.get_by_role("button", name="Close").click()
    await page.reload()
    await expect(page.locator("th.meta")).to_have_text(["rare"])
    await expect(page.locator("tbody tr").first.locator(".meta")).to_have_text("1")
    await page.locator("#columns").click()
    await page.get_by_role("button", name="Automatic").click()
    await expect(page.locator("th.meta")).to_have_text(["branch"])


async def test_a_click_anywhere_in_a_row_opens_the_stream(reader: Reader):
    await reader.stored("builds/1", b"x")
    page = await reader.open("/ui/")
    # The link of the row is stretched over it, and takes the click.
    await page.locator("tbody tr .took").click(force=True)
    await expect(page.locator("#name")).to_have_text("builds/1")


async def test_the_time_of_a_live_stream_grows(reader: Reader):
    await reader.live("a")
    page = await reader.open("/ui/")
    took = page.locator("tbody .took")
    await expect(took).to_have_text("2s")
    await expect(took).to_have_text("3s")


async def test_a_token_is_requested_once_and_only_sent_as_a_header(start: Start):
    reader = await start(tokens="secret-token-of-the-test")
    await reader.stored("guarded", b"inside\n", Authorization="Bearer secret-token-of-the-test")
    context = await reader.browser.new_context()
    page = await reader.visit(await context.new_page(), "/ui/stream/guarded")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.locator("dialog input").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("dialog")).to_contain_text("does not know that token")
    await page.locator("dialog input").fill("secret-token-of-the-test")
    await page.keyboard.press("Enter")
    await expect(page.locator(".row .x")).to_have_text("inside")
    await page.reload()
    await expect(page.locator(".row .x")).to_have_text("inside")
    other = await reader.visit(await context.new_page(), "/ui/")
    await expect(other.locator("tbody tr")).to_have_count(1)
    assert not any("secret" in url for url in asked)


async def test_the_token_of_a_share_link_is_removed_from_the_address_at_once(start: Start):
    reader = await start(tokens="secret-token-of-the-test")
    await reader.stored("shared", b"one\ntwo\n", Authorization="Bearer secret-token-of-the-test")
    page = await reader.open("/ui/stream/shared#token=secret-token-of-the-test&L2")
    await expect(page.locator(".row.picked .x")).to_have_text("two")
    await expect(page).to_have_url(f"{reader.server.url}/ui/stream/shared#L2")


async def test_tabs_share_one_connection_for_events(reader: Reader):
    context = await reader.browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    pages = [await reader.visit(await context.new_page(), "/ui/") for _ in range(3)]
    for page in pages:
        await expect(page.locator("#empty")).to_be_visible()
    await reader.live("seen/by/all")
    for page in pages:
        await expect(page.locator("tbody .id")).to_have_text(["seen/by/all"])
    assert sum(url.endswith("/events") for url in asked) == 1


async def test_hidden_pages_send_no_requests_and_catch_up_when_visible(reader: Reader):
    producer = await reader.live("build", b"seen\n")
    listing = await reader.open("/ui/")
    page = await reader.open("/ui/stream/build")
    await expect(page.locator(".row .x")).to_have_text(["seen"])
    await expect(listing.locator("tbody .id")).to_have_text(["build"])
    asked: list[str] = []
    for each, path in ((listing, "/events"), (page, "/stream/build")):
        url = reader.server.url + path
        async with each.expect_event("requestfailed", lambda request, url=url: request.url == url):
            await show(each, False)
        each.on("request", lambda request: asked.append(request.url))
    await producer.chunk(b"meanwhile\n")
    await reader.live("another")
    await asyncio.sleep(6)  # longer than any interval between requests of a visible page
    assert asked == []
    for each in (listing, page):
        await show(each, True)
    await expect(page.locator(".row .x")).to_have_text(["seen", "meanwhile"])
    await expect(listing.locator("tbody .id")).to_have_text(["another", "build"])


async def show(page: Page, on: bool) -> None:
    """Make the page see its tab as visible or hidden; a headless browser hides none."""
    await page.evaluate(
        """on => {
            Object.defineProperty(document, 'hidden', { value: !on, configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        on,
    )
