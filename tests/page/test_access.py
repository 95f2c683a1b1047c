"""Accessibility: axe-core finds no fault in the pages by WCAG 2.2, level AA."""

import pytest
from playwright.async_api import Page, expect
from tests.page.conftest import Reader, Start

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})"


@pytest.fixture
def faults(package):
    """Return what axe-core finds: each broken rule, the elements that break it, and why."""
    source = (package("axe-core") / "axe.min.js").read_text()

    async def find(page: Page) -> list[str]:
        await page.evaluate(source)
        found = await page.evaluate(RUN, RULES)
        assert len(found["passes"]) > 10
        return [
            f"{rule['id']}: {node['target']}: {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    return find


@pytest.fixture(params=["dark", "light"])
def scheme(request) -> str:
    return str(request.param)


async def test_the_list(reader: Reader, faults, scheme):
    page = await reader.open("/ui/", color_scheme=scheme)
    await expect(page.locator("#empty")).to_be_visible()
    assert await faults(page) == []
    await reader.stored("build/1", b"done\n", **{"X-Stream-Metadata": '{"commit": "3f2a91c"}'})
    await reader.stored("build/3", b"done\n", **{"X-Stream-Metadata": '{"exit_code": 3}'})
    await reader.stored("build/4", b"done\n", **{"X-Stream-Metadata": '{"exit_code": 0}'})
    await reader.stored("build/5", b"done\n", **{"X-Stream-Metadata": '{"outcome": "skipped"}'})
    await (await reader.live("build/6")).close()
    await reader.live("build/2")
    await expect(page.locator("tbody tr")).to_have_count(6)
    await expect(page.locator("tbody .state.interrupted")).to_have_count(1)
    await expect(page.locator(".folder")).to_have_count(1)
    assert await faults(page) == []
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await faults(page) == []
    await page.locator("#states button[value=live]").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    assert await faults(page) == []
    await page.keyboard.press("Escape")
    await page.locator("#help").click()
    await expect(page.locator("dialog.help")).to_be_visible()
    assert await faults(page) == []


async def test_a_stream_with_everything_shown(reader: Reader, faults, scheme):
    colours = b"".join(b"\x1b[%dmcolour %d\x1b[0m\n" % (n, n) for n in (*range(30, 38), *range(90, 98)))
    others = b"\x1b[38;2;250;250;20mbright\x1b[0m \x1b[38;2;9;9;60mdark\x1b[0m \x1b[1mbold\x1b[0m\n"
    await reader.live("build", colours + others + b"see https://example.com/ and find this\n")
    page = await reader.open("/ui/stream/build#L3-L5", color_scheme=scheme)
    await expect(page.locator(".row.picked")).to_have_count(3)
    await page.keyboard.press("t")
    await page.keyboard.press("/")
    await page.keyboard.type("colour")
    await expect(page.locator("#found")).to_contain_text("/ 16")
    assert await faults(page) == []


async def test_sections_and_errors(reader: Reader, faults, scheme):
    text = (
        b"::group::Good\na\n::endgroup::\n::group::Bad\nb\n::error file=a.c::no\nerror: plain\n::endgroup::\n"
        b"::group::Late\n::warning::odd\n::notice::so\n::endgroup::\n::warning::outside\n::notice::outside\n"
    )
    await reader.stored("build", text, **{"X-Stream-Metadata": '{"exit_code": 1}'})
    page = await reader.open("/ui/stream/build", color_scheme=scheme)
    await expect(page.locator(".row.error.picked")).to_be_visible()
    assert await faults(page) == []
    await page.keyboard.press("Escape")
    await page.keyboard.press("X")
    await expect(page.locator(".row.notice")).to_have_count(2)
    assert await faults(page) == []


async def test_an_aborted_stream(start: Start, faults, scheme):
    reader = await start(resume_window=0)
    producer = await reader.live("cut", b"half\n")
    page = await reader.open("/ui/stream/cut", color_scheme=scheme)
    await expect(page.locator(".row")).to_have_count(1)
    await producer.close()
    await expect(page.locator("#reason")).to_be_visible()
    assert await faults(page) == []


async def test_the_share_dialog(start: Start, faults, scheme):
    reader = await start(tokens="secret-token-of-the-test")
    await reader.stored("build", b"done\n", Authorization="Bearer secret-token-of-the-test")
    page = await reader.open("/ui/stream/build#token=secret-token-of-the-test&L1", color_scheme=scheme)
    await expect(page.locator("#picked")).to_be_visible()
    assert await faults(page) == []
    await page.keyboard.press("s")
    await page.get_by_role("button", name="Create link").click()
    await expect(page.locator(".links li")).to_have_count(1)
    assert await faults(page) == []


async def test_streams_of_a_folder_and_two_side_by_side(reader: Reader, faults, scheme):
    for name in ("build", "test"):
        await reader.stored(f"main/42/{name}", b"done\n", **{"X-Stream-Metadata": '{"exit_code": 1}'})
    await reader.live("main/42/deploy", b"begins\n")
    page = await reader.open("/ui/stream/main/42/test?beside=main/42/build", color_scheme=scheme)
    await expect(page.locator("#siblings-list li")).to_have_count(3)
    await expect(page.locator("#beside .row")).to_have_count(1)
    assert await faults(page) == []


async def test_live_streams_in_one_view(reader: Reader, faults, scheme):
    page = await reader.open("/ui/live/build/", color_scheme=scheme)
    await expect(page.locator("#empty")).to_be_visible()
    assert await faults(page) == []
    for number in range(10):
        await reader.live(f"build/{number}", b"begins\n")
    await expect(page.locator(".row")).to_have_count(10)
    assert await faults(page) == []


async def test_a_stream_that_does_not_exist(reader: Reader, faults, scheme):
    page = await reader.open("/ui/stream/builds/7", color_scheme=scheme)
    await expect(page.locator("#absent pre")).to_be_visible()
    assert await faults(page) == []


async def test_bytes_in_hex(reader: Reader, faults, scheme):
    await reader.stored("binary", b"\x7fELF\x00\x01" + bytes(range(256)))
    page = await reader.open("/ui/stream/binary", color_scheme=scheme)
    await expect(page.locator("#binary pre")).to_be_visible()
    assert await faults(page) == []


async def test_the_token_dialog(start: Start, faults, scheme):
    reader = await start(tokens="secret-token-of-the-test")
    page = await reader.open("/ui/", color_scheme=scheme)
    await expect(page.locator("dialog input")).to_be_visible()
    assert await faults(page) == []
