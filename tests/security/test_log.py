"""The log says who acts, in words that a holder of a signed token cannot choose, and shows no secret."""

import json

import aiohttp
import structlog
from structlog.testing import capture_logs
from tests.security.test_rights import ROOT, status
from tests.security.test_signed_tokens import sign
from tests.support.running import ONE_STORE, Serve
from tests.unit.test_logs import configured
from tests.unit.test_webhooks import Sleeper, delivering, end

from loom.access.auth import digest_of
from loom.jobs.webhooks import Hook
from loom.store.memory import MemoryStore
from loom.testing.tools import ManualClock

__all__ = ["configured"]  # a fixture


@ONE_STORE
async def test_a_line_names_the_configured_token_besides_the_name_that_a_signed_one_chose(serve: Serve):
    loom = await serve(tokens=[{"name": "ci", "token": ROOT}, "a-token-without-a-name"])
    signed = await sign(loom, ROOT, scopes=["read"], prefix="", expires_in=60, name="admin")
    for token, owner, name in [
        (signed["token"], "ci", "admin"),
        (ROOT, "ci", "ci"),
        ("a-token-without-a-name", digest_of("a-token-without-a-name").hex()[:16], None),
    ]:
        logged = loom.logged(path="/streams")
        assert await status(loom, token, "GET", "/streams") == 200
        line = await logged
        assert (line["owner"], line.get("who")) == (owner, name)


@ONE_STORE
async def test_a_signed_token_is_masked_wherever_it_appears(serve: Serve, configured):
    loom = await serve(tokens=[ROOT])
    token = (await sign(loom, ROOT, scopes=["read"], prefix="", expires_in=60))["token"]
    out = configured()
    log = structlog.get_logger("loom")
    log.info(
        token,
        path=f"/stream/{token}",
        deep={"headers": [(b"cookie", f"a{token}".encode())]},
    )
    try:
        raise ValueError(token)
    except ValueError:
        log.exception("failed", url=f"http://localhost/ui/stream/a#token={token}")
    assert "[token]" in out.getvalue()
    assert not [part for part in token.split(".") if part in out.getvalue()]


def test_a_logged_path_is_cut_after_its_tokens_are_masked(configured):
    out = configured(secrets=[ROOT])
    structlog.get_logger("loom").info("request", path="/stream/" + "a" * 1010 + ROOT + "b" * 50_000)
    path = json.loads(out.getvalue())["path"]
    assert len(path) <= 1024 + 3
    assert ROOT[:4] not in path


async def test_the_url_of_a_webhook_is_logged_as_scheme_and_host():
    clock = ManualClock()
    store, sleep = MemoryStore(clock), Sleeper(clock)
    hook = Hook("http://user:hidden@127.0.0.1:1/hidden/path?hidden=1")
    with capture_logs() as lines:
        async with delivering(store, clock, hook, sleep=sleep):
            await end(store, clock, "a")
            await sleep.until(lambda: any("url" in line for line in lines))
    assert {line["url"] for line in lines if "url" in line} == {"http://127.0.0.1:1"}
    assert "hidden" not in repr(lines)
    await store.close()


def test_an_error_that_quotes_the_url_of_a_webhook_is_logged_without_it():
    hook = Hook("http://127.0.0.1:1/hidden")
    assert hook.without_url(str(aiohttp.InvalidURL(hook.url))) == "http://127.0.0.1:1"
