"""Filters on metadata cost what they find, and one client's listings do not hold up those of others."""

import json
from urllib.parse import quote

import pytest
from tests.support.running import ONE_STORE, Loom

from loom.model import Info, Query, State


@ONE_STORE
async def test_a_query_has_sixteen_filters_at_most(loom: Loom):
    await loom.stored("/stream/a", b"", x_stream_metadata=json.dumps({f"k{n}": n for n in range(16)}))
    filters = [f"meta.k{number}={number}" for number in range(16)]
    wire = await loom.get("/streams?" + "&".join(filters * 50))
    found = json.loads(await wire.body())
    assert [row["id"] for row in found["streams"]] == ["a"], "repeated filters count once"
    wire = await loom.get("/streams?" + "&".join([*filters, f"meta.{quote('one more')}=1"]))
    assert wire.head.status == 400
    assert json.loads(await wire.body())["detail"] == "A query may have at most 16 filters on metadata."


def test_metadata_is_parsed_once_for_all_filters(monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []

    def loads(text: str, **options: object) -> object:
        parsed.append(text)
        return original(text, **options)  # type: ignore[arg-type]

    original = json.loads
    metadata = json.dumps({f"k{number}": number for number in range(16)})
    info = Info(key="1-x", id="a", epoch=1, state=State.LIVE, metadata=metadata)
    monkeypatch.setattr("loom.model.json.loads", loads)
    assert Query(metadata=tuple((f"k{number}", str(number)) for number in range(16))).matches(info)
    assert len(parsed) == 1
