"""Readers that are open when their token ends. Producers may finish what they have begun."""

import time
from typing import Any

import pytest
from tests.security.test_rights import ROOT, status
from tests.security.test_signed_tokens import sign
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire

from loom.access.auth import Action, Grant, Principal, digest_of
from loom.access.ids import Ids

pytestmark = ONE_STORE

READER = "reader-token-of-the-test"
READ = frozenset({Action.READ})
TARGETS: list[tuple[str, dict[str, Any]]] = [
    ("/spy", {}),
    ("/events", {}),
    ("/stream/live", {}),
    ("/stream/live", {"accept": "text/event-stream"}),
]


def grants(*principals: Principal) -> list[Grant]:
    others = [Grant.to(digest_of(READER), each) for each in principals]
    return [Grant.to(digest_of(ROOT), Principal(actions=frozenset({Action.ADMIN}))), *others]


async def opened(loom: Loom, token: str) -> list[Wire]:
    wires = [await loom.get(target, authorization=f"Bearer {token}", **more) for target, more in TARGETS]
    assert [wire.head.status for wire in wires] == [200] * len(TARGETS)
    return wires


async def cut_within_a_second(wires: list[Wire]) -> None:
    begun = time.monotonic()
    for wire in wires:
        with pytest.raises(Cut):
            await wire.body()
    assert time.monotonic() - begun < 3  # a second, and what a busy machine adds


@pytest.mark.parametrize(
    "now",
    [(), (Principal(actions=frozenset({Action.WRITE})),), (Principal(actions=READ, ids=Ids("other")),)],
    ids=["removed", "without its scope", "of other streams"],
)
async def test_readers_end_when_their_token_is_removed_or_loses_rights(serve: Serve, now):
    loom = await serve(tokens=[ROOT, {"token": READER, "scopes": ["read"]}])
    producer = await loom.live("/stream/live", authorization=f"Bearer {ROOT}")
    wires, kept = await opened(loom, READER), await opened(loom, ROOT)
    loom.auth.load(grants(*now))
    await cut_within_a_second(wires)
    await producer.chunk(b"bytes")
    assert await kept[2].take(5) == b"bytes"


async def test_readers_end_when_their_token_is_revoked(serve: Serve):
    loom = await serve(tokens=[ROOT])
    await loom.live("/stream/live", authorization=f"Bearer {ROOT}")
    signed = await sign(loom, ROOT, scopes=["read"], prefix="", expires_in=600)
    wires = await opened(loom, signed["token"])
    assert await status(loom, ROOT, "DELETE", f"/tokens/{signed['jti']}") == 204
    await cut_within_a_second(wires)


async def test_readers_without_a_token_end_when_a_reload_brings_tokens(serve: Serve):
    loom = await serve()
    await loom.live("/stream/live")
    wires = [await loom.get(target, **more) for target, more in TARGETS]
    loom.auth.load(grants())
    await cut_within_a_second(wires)


async def test_a_reload_that_changes_nothing_for_a_reader_leaves_it_open(serve: Serve):
    loom = await serve(tokens=[ROOT, {"token": READER, "scopes": ["read"]}])
    producer = await loom.live("/stream/live", authorization=f"Bearer {ROOT}")
    wires = await opened(loom, READER)
    loom.auth.load(grants(Principal(name="renamed", actions=READ)), ["k" * 32])
    signed = await sign(loom, ROOT, scopes=["read"], prefix="", expires_in=1)
    # Once one that expires later is cut, all have been checked.
    await cut_within_a_second(await opened(loom, signed["token"]))
    await producer.chunk(b"bytes")
    assert await wires[2].take(5) == b"bytes"
