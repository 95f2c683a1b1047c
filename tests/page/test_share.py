"""Links to a stream: to its lines, with a read-only token, and to its bytes."""

import re

from playwright.async_api import Page, expect
from tests.page.conftest import Reader, Start

LINES = b"".join(b"line %d\n" % number for number in range(1, 501))
TOKEN = "secret-token-of-the-test"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


async def copied(page: Page) -> str:
    return str(await page.evaluate("navigator.clipboard.readText()"))


async def allowed(page: Page) -> Page:
    """Let the page use the clipboard."""
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return page


def path_of(reader: Reader, link: str) -> str:
    assert link.startswith(reader.server.url)
    return link.removeprefix(reader.server.url)


async def test_the_link_has_the_lines_and_the_search(reader: Reader):
    await reader.stored("builds/7", LINES)
    page = await allowed(await reader.open("/ui/stream/builds/7"))
    await page.keyboard.press("y")
    await expect(page.locator("#toast")).to_have_text("Link copied")
    assert path_of(reader, await copied(page)) == "/ui/stream/builds/7"
    await page.keyboard.press("/")
    await page.locator("#regex").click()
    await page.locator("#find").fill(r"4\d\d$")
    await expect(page.locator("#found")).to_have_text("1 / 100")
    await page.evaluate("location.hash = '#L300-L302'")
    await expect(page.locator("#picked")).to_contain_text("Lines 300 to 302")
    await page.locator("#picked-link").click()
    await expect(page.locator("#toast")).to_have_text("Lines 300 to 302: link copied")

    other = await reader.open(path_of(reader, await copied(page)))
    await expect(other.locator(".row.picked")).to_have_count(3)
    await expect(other.locator(".row.picked").first).to_be_in_viewport()
    await expect(other.locator("#found")).to_have_text("100")
    await other.locator("#find-close").click()
    await expect(other).to_have_url(re.compile(r"/builds/7#L300-L302$"))
    await other.keyboard.press("Escape")
    await expect(other.locator("#picked")).to_be_hidden()


async def test_addresses_of_the_bytes_and_without_tokens_no_secret(reader: Reader):
    await reader.stored("builds/7", LINES)
    page = await allowed(await reader.open("/ui/stream/builds/7#L12-L14"))
    await expect(page.locator(".row.picked")).to_have_count(3)
    await page.keyboard.press("s")
    dialog = page.locator("dialog.share")
    await expect(dialog).to_contain_text("needs no token")
    await expect(dialog.get_by_role("button", name="Create link")).to_have_count(0)
    await dialog.get_by_role("button", name="Copy: Raw").click()
    await expect(page.locator("#toast")).to_have_text("Raw copied")
    raw = await reader.request("GET", path_of(reader, await copied(page)))
    assert await raw.body() == b"line 12\nline 13\nline 14\n"
    async with page.expect_download() as download:
        await dialog.get_by_role("button", name="Download").click()
    assert (await (await download.value).path()).read_bytes() == LINES


async def test_a_read_only_link_made_by_keyboard_and_revoked(start: Start):
    reader = await start(tokens=TOKEN)
    for id in ("builds/7/test", "builds/7/lint", "builds/8/test"):
        await reader.stored(id, LINES, **AUTHORIZED)
    page = await allowed(await reader.open(f"/ui/stream/builds/7/test#token={TOKEN}&L9"))
    await expect(page.locator(".row.picked")).to_have_count(1)
    await page.keyboard.press("s")
    await page.get_by_label("Streams", exact=True).select_option("all of builds/7/")
    await page.get_by_label("Valid for").select_option("1 hour")
    await page.get_by_role("button", name="Create link").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#toast")).to_have_text("Read-only link copied")
    link = path_of(reader, await copied(page))
    assert link.startswith("/ui/stream/builds/7/test#token=")
    assert TOKEN not in link

    colleague = await reader.open(link, storage_state=None)
    await expect(colleague.locator(".row.picked .x")).to_have_text("line 9")
    await expect(colleague).to_have_url(re.compile("/test#L9$"))
    ask = "path => fetch(path, {headers: {Authorization: `Bearer ${sessionStorage['loom-token']}`}})"
    for id, status in (("builds/7/lint", 200), ("builds/8/test", 404)):
        assert await colleague.evaluate(f"({ask})('/stream/{id}?info').then(a => a.status)") == status
    write = ask.replace("headers", "method: 'POST', headers")
    assert await colleague.evaluate(f"({write})('/stream/builds/7/new').then(a => a.status)") == 403

    await page.reload()
    await expect(page.locator(".row").first).to_be_visible()
    await page.keyboard.press("s")
    links = page.locator(".links li")
    await expect(links).to_have_count(1)
    await expect(links).to_contain_text("builds/7/")
    await links.get_by_role("button", name="Revoke").click()
    await expect(links).to_have_count(0)
    await colleague.reload()
    await expect(colleague.locator("dialog input")).to_be_visible()


async def test_what_may_not_be_shared_says_so(start: Start):
    reader = await start(tokens=TOKEN)
    await reader.stored("builds/7", LINES, **AUTHORIZED)
    page = await allowed(await reader.open(f"/ui/stream/builds/7#token={TOKEN}"))
    await expect(page.locator(".row").first).to_be_visible()
    await page.route("**/tokens", lambda route: route.fulfill(status=403, json={"detail": "Not you."}))
    await page.keyboard.press("s")
    await page.get_by_role("button", name="Create link").click()
    await expect(page.locator("dialog .wrong")).to_have_text("Not you.")
