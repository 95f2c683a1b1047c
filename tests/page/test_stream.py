import re

import pytest
from playwright.async_api import expect
from tests.page.conftest import Reader, Start

LINES = b"".join(b"line %d of many\n" % number for number in range(1, 5001))
GREP = re.compile(r"/stream/\w+\?grep=")


def number(line):
    return f'.row[data-line="{line}"]'


async def test_following_stops_on_scrolling_and_resumes_on_request(reader: Reader):
    producer = await reader.live("build", LINES)
    page = await reader.open("/ui/stream/build")
    await expect(page.locator(number(5000))).to_be_in_viewport()
    await producer.chunk(b"one more\n")
    await expect(page.locator(number(5001))).to_be_in_viewport()

    await page.locator("#log").hover()
    await page.mouse.wheel(0, -3000)
    await expect(page.locator("#follow")).to_be_visible()
    await expect(page.locator(number(5001))).to_have_count(0)
    seen = await page.locator(".row .n").first.text_content()
    await producer.chunk(LINES)
    await expect(page.locator("#facts")).to_contain_text("10,001 lines")
    assert await page.locator(".row .n").first.text_content() == seen

    await page.keyboard.press("f")
    await expect(page.locator(number(10_001))).to_be_in_viewport()
    await producer.chunk(b"")
    await expect(page.locator("#state")).to_have_text("complete")


async def test_colours_overwritten_lines_and_links(reader: Reader):
    await reader.stored(
        "colours",
        b"\x1b[1;31mred\x1b[0m \x1b[38;5;46mgreen\x1b[0m \x1b[48;2;1;2;3mground\x1b[0m\n"
        b"10%\r50%\r100%\n"
        b"see https://example.com/a?b=c, or javascript:alert(1)\n",
    )
    page = await reader.open("/ui/stream/colours")
    first = page.locator(number(1)).locator(".x")
    await expect(first).to_have_text("red green ground")
    await expect(first.locator("span").nth(0)).to_have_css("font-weight", "700")
    await expect(first.locator(".bg")).to_have_css("background-color", "rgb(1, 2, 3)")
    await expect(page.locator(number(2)).locator(".x")).to_have_text("100%")
    links = page.locator(".x a")
    await expect(links).to_have_count(1)
    await expect(links).to_have_attribute("href", "https://example.com/a?b=c")
    assert "noopener" in (await links.get_attribute("rel") or "")
    await page.keyboard.press("r")
    await expect(page.locator(number(2)).locator(".x")).to_have_text("10%^M50%^M100%")


async def test_hostile_bytes_stay_text(reader: Reader):
    hostile = [
        "<script>alert(1)</script><img src=x onerror=alert(2)><style>*{display:none}</style>",
        "\x1b]0;title\x07\x1b]8;;javascript:alert(3)\x1b\\click\x1b]8;;\x1b\\",
        "\x1b[999999999C\x1b[2147483647Gfar" + "\x1b[31m\x1b[1m" * 20_000,
        "\x1b[38;2;;;;;;;999;-1;;m\x1b[[[[m\x1bP\x1b_unfinished",
        "javascript:alert(4) http://a.b/<svg/onload=alert(5)>",
        "\u202egnirts desrever\u202c a\u0300" + "\u0300" * 500,
    ]
    data = "\n".join(hostile).encode() + b"\n\xff\xfe\xc3\x28\xed\xa0\x80 not UTF-8\nlast\n"
    await reader.stored(
        "%3Cimg%20src=x%3E", data, **{"X-Stream-Metadata": '{"<b>": "<script>alert(6)</script>"}'}
    )
    page = await reader.open("/ui/stream/%3Cimg%20src=x%3E")
    await expect(page.locator(number(8)).locator(".x")).to_have_text("last")
    await expect(page.locator(number(1)).locator(".x")).to_have_text(hostile[0])
    await expect(page.locator(number(2)).locator(".x")).to_have_text("click")
    await expect(page.locator("#name")).to_have_text("<img src=x>")
    assert await page.locator("#layer :is(script, img, style, svg), #metadata script").count() == 0
    for link in await page.locator(".x a").all():
        assert (await link.get_attribute("href") or "").startswith("http://a.b/")


async def test_lines_are_linked_to_while_the_stream_is_live(reader: Reader):
    producer = await reader.live("linked", LINES)
    page = await reader.open("/ui/stream/linked#L2000-L2003")
    await expect(page.locator(".row.picked")).to_have_count(4)
    await expect(page.locator(number(2001))).to_be_in_viewport()
    await page.locator(number(1999)).locator(".n").click()
    await page.locator(number(2005)).locator(".n").click(modifiers=["Shift"])
    await expect(page.locator(".row.picked")).to_have_count(7)
    await expect(page).to_have_url(re.compile("#L1999-L2005$"))

    later = await reader.open("/ui/stream/linked#L5002")
    await expect(later.locator("#state")).to_have_text("live")
    await producer.chunk(b"5001\n5002\n")
    await expect(later.locator(number(5002))).to_have_class(re.compile("picked"))
    await expect(later.locator(number(5002))).to_be_in_viewport()


async def test_search_counts_matches_and_steps_through_them(reader: Reader):
    await reader.stored(
        "searched", LINES + b"\x1b[31mneed\x1b[0mle here, Needle there\n" + LINES + b"a needle\n"
    )
    page = await reader.open("/ui/stream/searched")
    await expect(page.locator(number(1))).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("needle")
    await expect(page.locator("#found")).to_have_text("1 / 3")
    await expect(page.locator(number(5001)).locator(".hit")).to_have_text(["need", "le", "Needle"])
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator("#found")).to_have_text("3 / 3")
    await expect(page.locator(number(10_002))).to_be_in_viewport()
    await page.locator("#exact").click()
    await expect(page.locator("#found")).to_have_text(re.compile("/ 2$"))
    await page.locator("#log").focus()
    await page.keyboard.press("N")
    await expect(page.locator(".hit.current").first).to_be_visible()


async def test_a_search_continues_in_the_lines_that_arrive(reader: Reader):
    producer = await reader.live("growing", LINES + b"a need")
    page = await reader.open("/ui/stream/growing")
    await expect(page.locator(number(5001))).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("needle")
    await expect(page.locator("#found")).to_have_text("no match")
    await producer.chunk(b"le\nanother needle, Needle\n")
    await expect(page.locator("#found")).to_have_text("1 / 3")
    await producer.chunk(b"the last needle")
    await producer.chunk(b"")
    await expect(page.locator("#found")).to_have_text("1 / 4")


async def test_the_page_resumes_after_the_server_was_killed(start: Start):
    reader = await start(resume_window=60)
    await reader.live("lost", LINES)
    page = await reader.open("/ui/stream/lost")
    await expect(page.locator(number(5000))).to_be_in_viewport()
    await reader.server.kill()
    await expect(page.locator("#connection")).to_contain_text("Connection lost")
    await reader.restart()
    await expect(page.locator("#state")).to_have_text("interrupted")
    await reader.live_on("lost", len(LINES), b"resumed\n")
    await expect(page.locator(number(5001)).locator(".x")).to_have_text("resumed")
    await expect(page.locator("#state")).to_have_text("live")
    await expect(page.locator("#connection")).to_have_text("")


async def test_an_aborted_build_does_not_look_complete(start: Start):
    reader = await start(resume_window=0)
    producer = await reader.live("cut", b"half\n")
    page = await reader.open("/ui/stream/cut")
    await expect(page.locator(number(1))).to_be_visible()
    await producer.close()
    await expect(page.locator("#state")).to_have_text("aborted")
    await expect(page.locator("#reason")).to_be_visible()
    await expect(page.locator("#announcer")).to_have_text("The stream is aborted")


async def test_a_line_without_an_end_costs_little(reader: Reader):
    await reader.stored("long", b"first\n" + b"x" * (40 << 20) + b"\nlast\n")
    page = await reader.open("/ui/stream/long")
    await expect(page.locator(number(3)).locator(".x")).to_have_text("last", timeout=20_000)
    await expect(page.locator(number(2)).locator(".more")).to_contain_text("40 MiB more")
    assert await page.evaluate("document.body.textContent.length") < 50_000


async def test_bytes_that_are_not_text_are_shown_in_hex(reader: Reader):
    await reader.stored(
        "binary", b"\x7fELF\x00\x01" + bytes(range(256)) * 40, **{"Content-Type": "text/plain"}
    )
    page = await reader.open("/ui/stream/binary")
    await expect(page.locator("#binary")).to_contain_text("Binary, text/plain, 10 KiB")
    await expect(page.locator("#binary pre")).to_contain_text("7f 45 4c 46 00 01")


async def test_a_stream_that_does_not_exist_opens_once_it_is_created(start: Start):
    reader = await start(tokens="secret-token-of-the-test")
    page = await reader.open("/ui/stream/later/1#token=secret-token-of-the-test")
    await expect(page.locator("#state")).to_have_text("absent")
    await expect(page.locator("#absent pre")).to_contain_text(f"-X POST '{reader.server.url}/stream/later/1'")
    await expect(page.locator("#search")).to_be_hidden()
    await expect(page.locator("#log")).to_be_hidden()
    await reader.restart()
    authorized = {"Authorization": "Bearer secret-token-of-the-test"}
    await reader.stored("later/2", b"another\n", **authorized)
    producer = await reader.live("later/1", b"first\n", **authorized)
    await expect(page.locator(number(1)).locator(".x")).to_have_text("first")
    await expect(page.locator("#state")).to_have_text("live")
    await expect(page.locator("#facts")).to_contain_text("1 line ·")
    await expect(page.locator("#absent")).to_be_hidden()
    await producer.chunk(b"second\n")
    await expect(page.locator(number(2))).to_be_in_viewport()


async def test_an_invalid_pattern_after_a_search_is_reported_as_such(reader: Reader):
    await reader.stored("patterns", LINES)
    page = await reader.open("/ui/stream/patterns")
    await page.keyboard.press("/")
    await page.locator("#regex").click()
    await page.locator("#find").fill("line 1")
    await expect(page.locator("#found")).to_contain_text("/ 1,111")
    await page.route(GREP, lambda route: None if "+2" in route.request.url else route.continue_())
    async with page.expect_request(GREP):
        await page.locator("#find").fill("line 2")  # this search is not done when the next one begins
    await page.locator("#find").fill("line 3(")
    await expect(page.locator("#found")).to_contain_text("a group has no closing parenthesis")
    await page.locator("#find").fill("(?i)LINE 30[[:digit:]] of")
    await expect(page.locator("#found")).to_have_text("1 / 10")


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_both_themes_and_the_choice_between_them(reader: Reader, scheme):
    await reader.stored("themed", b"\x1b[33mwarning\x1b[0m\n")
    page = await reader.open("/ui/stream/themed", color_scheme=scheme)
    grounds = {"dark": "rgb(13, 17, 23)", "light": "rgb(255, 255, 255)"}
    await expect(page.locator("body")).to_have_css("background-color", grounds[scheme])
    await page.keyboard.press("d")
    await expect(page.locator("body")).to_have_css("background-color", grounds["dark"])
    await page.keyboard.press("d")
    await expect(page.locator("body")).to_have_css("background-color", grounds["light"])


async def test_times_wrap_help_and_copy_by_keyboard(reader: Reader):
    await reader.stored("keys", b"short\n" + b"word " * 2000 + b"\nend\n")
    page = await reader.open("/ui/stream/keys#L1")
    await page.keyboard.press("t")
    await expect(page.locator(number(1)).locator(".t")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    await expect(page.locator(number(2))).to_have_css("height", "20px")
    await page.keyboard.press("w")
    await expect(page.locator("#wrap")).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("#log")).to_have_class(re.compile("wraps"))
    await expect(page.locator(number(2))).to_have_css("height", re.compile(r"^\d{3,}px$"))
    await page.keyboard.press("?")
    await expect(page.locator("dialog.help")).to_contain_text("previous match")
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog.help")).to_have_count(0)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.keyboard.press("c")
    await expect(page.locator("#toast")).to_have_text("Line 1 copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "short\n"
