import re

import pytest
from tests.support.running import ONE_STORE

from loom.http.pages import TEXTS

PAGES = ["/ui/", "/ui/stream/builds/42", "/ui/stream/%C3%A9", "/ui/live/", "/ui/live/builds/"]

pytestmark = ONE_STORE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_redirects_to_the_page(loom, method):
    for path in ("/", "/ui"):
        wire = await loom.ask(method, path)
        assert (wire.head.status, wire.head["location"]) == (307, "/ui/")


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_allows_its_own_scripts_by_hash_and_nothing_else(loom, path):
    wire = await loom.get(path)
    html = (await wire.body()).decode()
    policy = dict(part.split(" ", 1) for part in wire.head["content-security-policy"].split("; "))
    scripts = re.findall(r'integrity="(sha256-[^"]+)"', html)
    assert scripts
    assert policy["script-src"].split() == [f"'{digest}'" for digest in dict.fromkeys(reversed(scripts))]
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["trusted-types"] == "'none'"
    assert "'self'" not in policy["script-src"] + policy["style-src"]
    assert not re.search(
        r"<script(?![^>]* src=)| on\w+=| style=|https?://(?!…)", html.replace("http://www.w3.org", "")
    )


async def test_files_of_the_page_need_no_token_and_streams_do(serve):
    loom = await serve(tokens=["secret"])
    for path in ["/", "/ui", *PAGES]:
        assert (await loom.get(path)).head.status in (200, 307)
    for path in ("/streams", "/stream/a", "/uix", "//ui/", "/ui/../streams"):
        assert (await loom.get(path)).head.status in (401, 404)
    assert (await loom.get("/streams")).head.status == 401


async def test_a_page_is_the_same_whether_the_stream_exists_or_not(loom):
    await loom.stored("/stream/there", b"bytes")
    there, absent = [await loom.get(f"/ui/stream/{id}") for id in ("there", "absent")]
    assert there.head["etag"] == absent.head["etag"]
    assert await there.body() == await absent.body()


async def test_a_cached_file_is_not_sent_again(loom):
    asset = re.findall(r'(?:src|href)="(/ui/assets/[^"]+)"', await _html(loom))[0]
    for path, kept in (("/ui/", "no-cache"), (asset, "immutable")):
        first = await loom.get(path)
        again = await loom.ask("GET", path, **{"If-None-Match": f'"other", {first.head["etag"]}'})
        assert (first.head.status, again.head.status) == (200, 304)
        assert kept in again.head["cache-control"]


async def test_every_module_is_served_as_script(loom):
    for path in re.findall(r'(?:src|href)="(/ui/assets/[^"]+)"', await _html(loom)):
        wire = await loom.get(path)
        assert wire.head["content-type"].startswith("text/javascript")
        assert (await wire.body()).decode() == TEXTS[path.rpartition("/")[2]]


@pytest.mark.parametrize("name", ["page.css", "streams.html", "0000000000000000/api.js", "../api.js", ""])
async def test_other_files_are_404(loom, name):
    assert (await loom.get(f"/ui/assets/{name}")).head.status == 404


async def _html(loom):
    return (await (await loom.get("/ui/stream/x")).body()).decode()
