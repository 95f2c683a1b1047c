"""The catalog: transactions, plans, and a million rows."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from tests.files.disks import until, written

from loom.errors import Busy, ConfigError, StreamNotFound
from loom.ids import number_of
from loom.model import Info, NewStream, Outcome, Query, State, members
from loom.store.files.catalog import Catalog
from loom.store.files.folders import after_prefix
from loom.store.files.members import MANY, MOST, code_of, code_of_outcome
from loom.store.files.queries import PAGE, CatalogReader
from loom.store.files.schema import COLUMNS, MIGRATIONS, SCHEMA, connect, values
from loom.store.files.testing import Inside
from loom.store.holdings import Held
from loom.testing.tools import COMPLETE, ids, stored

MILLION = 1_000_000


def info(number: int, id: str | None = None, state: State = State.COMPLETE) -> Info:
    return Info(key=f"{number:x}-x", id=id or f"id {number}", epoch=1, state=state)


@pytest.fixture
def catalog(folder):
    catalog = Catalog(folder / "catalog.sqlite")
    yield catalog
    catalog.close()


@pytest.fixture
def direct(catalog):
    """A connection to the file of `catalog` that bypasses it."""
    with contextlib.closing(sqlite3.connect(catalog.path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def asked(monkeypatch):
    """Every statement of the catalogs and readers that the test opens."""
    statements: list[str] = []

    def tracing(path: Path, *, read_only: bool) -> sqlite3.Connection:
        connection = connect(path, read_only=read_only)
        connection.set_trace_callback(statements.append)
        return connection

    for module in ("catalog", "queries"):
        monkeypatch.setattr(f"loom.store.files.{module}.connect", tracing)
    return statements


def test_one_transaction_deletes_a_stream_and_stores_another_of_its_id(catalog):
    catalog.store([(1, info(1, "a"))], [], 1)
    catalog.store([(2, info(2, "a")), (3, info(3, "b"))], [1], 3)
    assert catalog.rows([1, 2, 3]) == {2: info(2, "a"), 3: info(3, "b")}
    catalog.store([(3, info(3, "b", State.LIVE))], [2, 99], 3)
    assert catalog.rows([1, 2, 3]) == {3: info(3, "b", State.LIVE)}
    assert catalog.produced() == [(3, info(3, "b", State.LIVE))]


def test_a_transaction_that_fails_changes_nothing_and_can_be_repeated(catalog):
    catalog.store([(1, info(1, "a"))], [], 1)
    with pytest.raises(sqlite3.IntegrityError):
        catalog.store([(2, info(2, "b")), (3, info(3, "a"))], [], 3, checkpoint=7)
    assert catalog.rows([1, 2, 3]) == {1: info(1, "a")}
    assert (catalog.fact("number"), catalog.fact("checkpoint")) == (1, 0)
    catalog.store([(2, info(2, "b"))], [], 2, checkpoint=7)
    assert (catalog.fact("number"), catalog.fact("checkpoint")) == (2, 7)


def test_a_checkpoint_leaves_everything_in_the_catalog_file_itself(catalog, folder):
    catalog.store([(1, info(1))], [], 1)
    catalog.store([(2, info(2))], [], 2, checkpoint=5)
    (folder / "copy").mkdir()
    (folder / "copy" / "catalog.sqlite").write_bytes((folder / "catalog.sqlite").read_bytes())
    copy = Catalog(folder / "copy" / "catalog.sqlite")
    assert copy.fact("checkpoint") == 5
    assert copy.rows([1, 2]).keys() == {1, 2}
    copy.close()


def test_pages_go_from_the_newest_to_the_oldest_without_gap(catalog):
    count = 2 * PAGE + 3
    states = [State.COMPLETE, State.ABORTED]
    catalog.store(
        ((n, info(n, f"{'ab'[n % 2]}{n}", states[n % 3 == 0])) for n in range(1, count + 1)), [], count
    )
    reader = CatalogReader(catalog.path)

    def numbers(query: Query) -> list[int]:
        found: list[int] = []
        below = count + 1
        while below:
            page = reader.page(query, below)
            found += [number for number, _ in page.rows]
            below = page.least
        return found

    everything = list(range(count, 0, -1))
    assert numbers(Query()) == everything
    assert numbers(Query(prefix="a")) == [n for n in everything if n % 2 == 0]
    assert numbers(Query(prefix="a%")) == numbers(Query(states=frozenset({State.LIVE}))) == []
    aborted = Query(states=frozenset({State.ABORTED}), prefix="b")
    assert numbers(aborted) == [n for n in everything if n % 2 and n % 3 == 0]
    reader.close()


def test_a_page_looks_at_few_rows_for_any_query(asked, catalog, direct, monkeypatch):
    monkeypatch.setattr("loom.store.files.queries.WINDOW", 100)
    count = 1000
    states = {0: State.OPEN}
    rows = [
        (n, replace(info(n, f"{'ab'[n > 950]}{n}", states.get(n % 4, State.COMPLETE)), created=float(n)))
        for n in range(1, count + 1)
    ]
    catalog.store(rows, [], count)
    reader = CatalogReader(catalog.path)
    some = range(count, 0, -1)
    for query, index, pages, expected in [
        (Query(prefix="b"), "sqlite_autoindex_streams_1", 1, [n for n in some if n > 950]),
        (Query(prefix="a"), "PRIMARY KEY", 11, [n for n in some if n <= 950]),
        (Query(created_after=980.0), "created", 1, [n for n in some if n > 980]),
        (Query(created_after=20.0, prefix="b99"), "sqlite_autoindex_streams_1", 1, range(999, 989, -1)),
        (Query(created_after=20.0), "PRIMARY KEY", 11, [n for n in some if n > 20]),
        (Query(states=frozenset({State.ABORTED})), "PRIMARY KEY", 11, []),
        (Query(states=frozenset({State.OPEN})), "unfinished", 3, [n for n in some if n % 4 == 0]),
        (Query(states=frozenset({State.OPEN, State.LIVE})), "unfinished", 3, [n for n in some if n % 4 == 0]),
        (Query(metadata=(("a", "b"),)), "PRIMARY KEY", 1, []),
    ]:
        found, below, taken = [], count + 1, 0
        while below:
            asked.clear()
            page = reader.page(query, below)
            found += [number for number, _ in page.rows]
            below, taken = page.least, taken + 1
            plan = " ".join(row[3] for row in direct.execute(f"EXPLAIN QUERY PLAN {asked[-1]}"))
            assert f"SEARCH streams USING {'INTEGER ' * (index == 'PRIMARY KEY')}" in plan
            assert index in plan
        assert (found, taken) == ([*expected], pages)
    reader.close()


def entries(db: sqlite3.Connection) -> dict[int, set[int]]:
    """Return the index of metadata: the codes of each stream that has some."""
    found: dict[int, set[int]] = {}
    for number, code in db.execute("SELECT number, code FROM members"):
        found.setdefault(number, set()).add(code)
    return found


def test_the_index_of_metadata_follows_the_rows(catalog, direct):
    many = json.dumps(dict.fromkeys(map(str, range(MOST + 1)), 1))
    texts = {1: '{"a": "x", "b": 1}', 2: '{"a": "x"}', 3: many, 4: "[]", 5: '{"\\ud800": "\\udfff"}'}
    rows = [(n, replace(info(n), metadata=text)) for n, text in texts.items()]
    catalog.store(rows, [], 5)
    a, b = code_of("a", "x"), code_of("b", "1")
    strange = code_of("\ud800", "\udfff")
    assert entries(direct) == {1: {a, b}, 2: {a}, 3: {MANY}, 5: {strange}}
    catalog.store([(1, replace(info(1), metadata='{"b": 1, "c": null}'))], [2, 99], 5)
    assert entries(direct) == {1: {b, code_of("c", "null")}, 3: {MANY}, 5: {strange}}
    ended = replace(info(7), metadata='{"exit_code": 3}')
    code, failure = code_of("exit_code", "3"), code_of_outcome(Outcome.FAILURE)
    catalog.store([(7, replace(ended, state=State.LIVE))], [], 7)
    assert entries(direct)[7] == {code}
    catalog.store([(7, ended)], [], 7)
    assert entries(direct)[7] == {code, failure}
    catalog.store([], [7], 7)
    with pytest.raises(sqlite3.IntegrityError):
        catalog.store([(6, replace(info(6, "id 1"), metadata='{"a": 1}'))], [3], 6)
    assert entries(direct) == {1: {b, code_of("c", "null")}, 3: {MANY}, 5: {strange}}


def all_pages(reader: CatalogReader, query: Query, below: int) -> tuple[list[int], int]:
    """Return the numbers of a whole listing, and how many pages it has."""
    found, pages = [], 0
    while below:
        page = reader.page(query, below)
        found += [number for number, _ in page.rows]
        below, pages = page.least, pages + 1
    return found, pages


def metadata_of(number: int) -> str:
    names = {"all": True, "half": number % 2, "rare": number % 500, "one": f"v{number}"}
    return json.dumps(names | {"exit_code": int(number % 10 == 0)})


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "being filled"])
def test_a_filter_on_metadata_looks_at_the_streams_that_have_the_rarest_member(
    asked, catalog, direct, monkeypatch, filled
):
    monkeypatch.setattr("loom.store.files.members.CANDIDATES", 100)
    monkeypatch.setattr("loom.store.files.queries.WINDOW", 100)
    count = 1000
    catalog.store([(n, replace(info(n), metadata=metadata_of(n))) for n in range(1, count + 1)], [], count)
    if not filled:
        direct.execute("DELETE FROM members WHERE number <= 400")
        direct.execute("UPDATE facts SET value = 400 WHERE name = 'unindexed'")
    reader = CatalogReader(catalog.path)
    looked: list[str] = []

    def parsed(text: str) -> dict[str, str]:
        looked.append(text)
        return members(text)

    monkeypatch.setattr("loom.model.members", parsed)
    some = range(count, 0, -1)
    for wanted, expected, pages in [
        ([("rare", "7")], [507, 7], 1),
        ([("one", "v3"), ("all", "true")], [3], 1),
        ([("all", "true"), ("half", "1"), ("rare", "8")], [], 1),
        ([("one", "none")], [], 1),
        ([("half", "1")], [n for n in some if n % 2], 6),
        ([("all", "true"), ("half", "0")], [n for n in some if n % 2 == 0], 6),
    ]:
        asked.clear()
        looked.clear()
        assert all_pages(reader, Query(metadata=tuple(wanted)), count + 1) == (
            expected,
            pages if filled else ANY,
        )
        plan = " ".join(row[3] for row in direct.execute(f"EXPLAIN QUERY PLAN {asked[-1]}"))
        assert "SCAN" not in plan.replace("SCAN CONSTANT ROW", "")
        if filled:
            assert len(looked) == len(expected), "no row is parsed in vain"
            assert "SEARCH streams USING INTEGER PRIMARY KEY (rowid=?)" in plan
    reader.close()


def test_a_filter_on_outcomes_looks_at_the_streams_that_have_one_of_them(catalog, monkeypatch):
    monkeypatch.setattr("loom.store.files.members.CANDIDATES", 50)
    monkeypatch.setattr("loom.store.files.queries.WINDOW", 100)
    count = 1000
    texts = {n: json.dumps({"exit_code": int(n % 100 == 0)}) for n in range(1, count + 1)}
    catalog.store([(n, replace(info(n), metadata=text)) for n, text in texts.items()], [], count)
    reader = CatalogReader(catalog.path)
    failed = [*range(1000, 0, -100)]
    assert all_pages(reader, Query(outcomes=frozenset({Outcome.FAILURE})), count + 1) == (failed, 1)
    found, pages = all_pages(reader, Query(outcomes=frozenset({Outcome.SUCCESS})), count + 1)
    assert (found, pages) == ([n for n in range(count, 0, -1) if n not in failed], 990 // 50 + 1)
    either = Query(outcomes=frozenset({Outcome.SUCCESS, Outcome.FAILURE}))
    assert all_pages(reader, either, count + 1)[0] == [*range(count, 0, -1)]
    reader.close()


def test_folders_are_counted_by_look_ups_in_the_index_on_ids(asked, catalog, direct, monkeypatch):
    for name, value in {"COUNTED": 60, "FAILURES": 12, "NEWEST": 20}.items():
        monkeypatch.setattr(f"loom.store.files.folders.{name}", value)
    ids = [*(f"a/{n}/log" for n in range(30)), *(f"b/{n}" for n in range(80)), *(f"c/{n}" for n in range(12))]
    ids += ["top", *(f"top{n}" for n in range(50)), "d/1"]
    infos = [replace(info(n, id), metadata=f'{{"exit_code": {n % 2}}}') for n, id in enumerate(ids, 1)]
    catalog.store(list(enumerate(infos, 1)), [], len(ids))
    reader = CatalogReader(catalog.path)

    def found(prefix: str, but: list[int]) -> dict[str, tuple[int, str, int]]:
        counts = reader.folders(prefix, but)
        newest = {name: each.newest.id if each.newest else "" for name, each in counts.items()}
        return {name: (each.total, newest[name], each.failures) for name, each in counts.items()}

    asked.clear()
    assert found("", []) == {
        "": (60, "d/1", 0),
        "a/": (30, "a/29/log", 0),
        "b/": (60, "b/79", 0),
        "c/": (12, "c/11", 6),
        "d/": (1, "d/1", int(len(ids) % 2)),
    }
    plans = [row[3] for text in asked for row in direct.execute(f"EXPLAIN QUERY PLAN {text}")]
    scans = [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan]
    assert set(scans) <= {"SCAN streams", "SCAN (subquery-1)"}
    numbers = [n for n, id in enumerate(ids, 1) if id in ("d/1", "c/11", "b/79", "a/7/log")]
    assert found("", numbers) == {
        "": (60, "top49", 0),
        "a/": (29, "a/29/log", 0),
        "b/": (60, "b/78", 0),
        "c/": (11, "c/10", 6),
        "d/": (0, "", 0),
    }
    assert len(found("a/", [])) == 31
    monkeypatch.setattr("loom.store.files.folders.FOLDERS", 10)
    assert [*found("a/", [])][:3] == ["a/", "a/0/", "a/1/"]
    catalog.store([(999, info(999, "a/new/log"))], [], 999)
    assert [*found("a/", [])][:3] == ["a/", "a/new/", "a/0/"]
    reader.close()


def test_streams_with_many_members_are_found_by_each(catalog, monkeypatch):
    monkeypatch.setattr("loom.store.files.members.CANDIDATES", 10)
    many = json.dumps({str(number): number for number in range(MOST + 1)})
    rows = [(n, replace(info(n), metadata=many if n % 2 else '{"5": 5}')) for n in range(1, 101)]
    catalog.store(rows, [], 100)
    reader = CatalogReader(catalog.path)
    assert all_pages(reader, Query(metadata=(("5", "5"),)), 101)[0] == [*range(100, 0, -1)]
    assert all_pages(reader, Query(metadata=(("6", "6"),)), 101)[0] == [*range(99, 0, -2)]
    assert all_pages(reader, Query(metadata=(("6", "7"),)), 101)[0] == []
    reader.close()


WITHOUT_OWNERS = (
    *(
        f"DROP TRIGGER {name}"
        for name in ("described", "amended", "disowned", "opened", "entered", "cleared", "turned")
    ),
    "DROP INDEX due",
    "DROP INDEX IF EXISTS expiring",
    "DROP TABLE ledger",
    *(f"ALTER TABLE streams DROP COLUMN {name}" for name in ("framing", "source", "fork", "gone", "ledger")),
    "DROP TABLE owners",
    "ALTER TABLE streams DROP COLUMN owner",
    "DELETE FROM facts WHERE name IN ('metadata', 'ledgers', 'settled')",
)
WITHOUT_MEMBERS = (
    *WITHOUT_OWNERS,
    "DROP TABLE members",
    "DELETE FROM facts WHERE name = 'unindexed'",
    "PRAGMA user_version = 5",
)
WITHOUT_OUTCOMES = (
    *WITHOUT_OWNERS,
    f"DELETE FROM members WHERE code IN ({', '.join(str(code_of_outcome(each)) for each in Outcome)})",
    "PRAGMA user_version = 6",
)


def taken_back(path: Path, to: Iterable[str]) -> dict[int, set[int]]:
    """Take a catalog back to an earlier schema; return what its index of metadata had."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        before = entries(db)
        for statement in to:
            db.execute(statement)
    return before


def unindexed(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT value FROM facts WHERE name = 'unindexed'").fetchone()[0])


@pytest.mark.parametrize("to", [WITHOUT_MEMBERS, WITHOUT_OUTCOMES], ids=["5", "6"])
async def test_the_streams_of_an_older_version_are_found_before_and_after_they_are_indexed(
    disk, starter, monkeypatch, to
):
    store = await starter()
    for n in range(1, 26):
        writer = await store.create(NewStream(id=f"{n}", metadata=metadata_of(n)))
        await writer.close(COMPLETE)
    await store.close()
    before = await asyncio.to_thread(taken_back, disk.root / "catalog.sqlite", to)
    assert len(before) == 25
    monkeypatch.setattr("loom.store.files.members.FILLED_AT_ONCE", 10)
    store = await starter()

    async def check() -> None:
        assert await ids(store, metadata=(("one", "v7"),)) == ["7"]
        assert await ids(store, outcomes=frozenset({Outcome.FAILURE})) == ["20", "10"]
        assert await ids(store, metadata=(("half", "1"),), prefix="1") == ["19", "17", "15", "13", "11", "1"]

    await check()
    while await asyncio.to_thread(unindexed, disk.root / "catalog.sqlite"):
        await check()
    await check()
    await store.close()
    assert await asyncio.to_thread(taken_back, disk.root / "catalog.sqlite", ()) == before


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff" * 2, ""), ("z~", "z\x7f")],
)
def test_the_least_text_after_all_with_a_prefix(prefix, end):
    assert after_prefix(prefix) == end


def test_a_catalog_without_the_newest_columns_and_indexes_gets_them(catalog, direct):
    for what in [f"INDEX {name}" for name in ("created", "expiring")]:
        direct.execute(f"DROP {what}")
    for statement in WITHOUT_OWNERS:
        direct.execute(statement)
    for column in ("ttl", "expires", "digest"):
        direct.execute(f"ALTER TABLE streams DROP COLUMN {column}")
    direct.execute("PRAGMA user_version = 1")
    again = Catalog(catalog.path)
    again.store([(1, replace(info(1), ttl=5.0, ended=1.0, expires=6.0))], [], 1)
    assert again.rows([1])[1].expires == 6.0
    again.close()
    reader = CatalogReader(catalog.path)
    assert reader.page(Query(created_after=1.0), 10) == ([], 0)
    assert [number for number, _ in reader.expired(6.0, 10)] == [1]
    reader.close()


def test_start_and_point_look_ups_use_indexes(asked, catalog, direct):
    reader = CatalogReader(catalog.path)
    asked.clear()
    catalog.produced()
    catalog.rows([1])
    reader.by_id("a")
    reader.by_number(1)
    reader.expired(1.0, 10)  # shared streams, too
    reader.due(1.0, 10)
    catalog.store([(1, info(1))], [2], 1, checkpoint=1)
    statements = [text for text in asked if text.split()[0] in ("SELECT", "INSERT", "DELETE", "UPDATE")]
    assert len(statements) >= 10
    for text in statements:
        plans = [row[3] for row in direct.execute(f"EXPLAIN QUERY PLAN {text}")]
        assert all(plan.startswith("SEARCH") for plan in plans), text
    reader.close()


def test_a_later_schema_is_refused_in_a_sentence(catalog, direct):
    direct.execute("PRAGMA user_version = 99")
    sentence = f"written by a later version of Loom: it has schema 99, and .* knows schemas up to {SCHEMA}"
    with pytest.raises(ConfigError, match=sentence):
        Catalog(catalog.path)


def schema(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Return the objects and columns of a catalog, however its statements are written."""
    objects = (
        "SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY 1, 2"
    )
    columns = "SELECT m.name, p.name, p.type FROM sqlite_schema m, pragma_table_info(m.name) p ORDER BY 1, 2"
    return [*db.execute(objects), *db.execute(columns)]


@pytest.mark.parametrize(
    ("number", "mark"), [*((each, each) for each in range(1, SCHEMA)), *((each, 1) for each in range(2, 6))]
)
def test_each_schema_is_migrated_to_the_newest_with_its_rows(folder, direct, number, mark):
    """The versions that made schemas 2 to 5 wrote number 1 into all of them."""
    old = sqlite3.connect(folder / "old.sqlite")
    for migration in MIGRATIONS[:number]:
        for statement in migration:
            old.execute(statement)
    facts = {"seed": 5, "checkpoint": 7, "number": 1, "flushed": 1}
    if number >= 9:
        facts["settled"] = 1
    old.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())
    present = [name for _, name, *_ in old.execute("PRAGMA table_info(streams)")]
    row = dict(zip(COLUMNS, values(1, replace(info(1), size=1000)), strict=True))
    old.execute(
        f"INSERT INTO streams ({', '.join(present)}) VALUES ({', '.join('?' * len(present))})",
        [row[name] for name in present],
    )
    old.execute(f"PRAGMA user_version = {mark}")
    old.commit()
    old.close()
    for _ in range(2):
        catalog = Catalog(folder / "old.sqlite")
        assert [catalog.fact(name) for name in ("seed", "checkpoint", "size")] == [5, 7, 1000]
        assert catalog.rows([1]) == {1: replace(info(1), size=1000)}
        assert (catalog.fact("metadata"), catalog.owners()) == (len("{}"), {"": Held(1)})
        assert (catalog.fact("ledgers"), catalog.fact("settled")) == (0, 1)
        catalog.close()
    with contextlib.closing(sqlite3.connect(folder / "old.sqlite")) as migrated:
        assert schema(migrated) == schema(direct)
        assert migrated.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(folder, monkeypatch):
    broken = (*MIGRATIONS, ("CREATE TABLE fine (a)", "CREATE TABLE facts (a)"))
    Catalog(folder / "catalog.sqlite").close()
    before = (folder / "catalog.sqlite").read_bytes()
    monkeypatch.setattr("loom.store.files.schema.MIGRATIONS", broken)
    monkeypatch.setattr("loom.store.files.schema.SCHEMA", SCHEMA + 1)
    with pytest.raises(sqlite3.OperationalError, match="facts already exists"):
        Catalog(folder / "catalog.sqlite")
    assert (folder / "catalog.sqlite").read_bytes() == before
    monkeypatch.undo()
    Catalog(folder / "catalog.sqlite").close()


async def test_a_catalog_that_cannot_be_read_is_busy_and_no_error_of_sqlite(disk, store):
    writer = await written(store, "a", b"x", COMPLETE)
    Inside(store).parts.reader.close()
    asked = [
        store.info("b"),
        store.open(writer.key[:-1]),
        store.create(NewStream(id="b")),
        store.delete("9-9"),
    ]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, Busy | StreamNotFound)
    (disk.root / "catalog.sqlite").rename(disk.root / "away")
    with pytest.raises(Busy):
        await anext(store.find(Query()))
    (disk.root / "away").rename(disk.root / "catalog.sqlite")


@pytest.mark.parametrize("key", ["", "-", "1", "zz-x", "-5-x", "f" * 40 + "-x", "1_0-x", "0-x", "٣-x"])
def test_a_malformed_key_belongs_to_no_stream(key):
    assert 0 <= number_of(key) < 1 << 63


async def test_with_a_million_streams_start_create_and_info_look_at_few_rows(disk, starter):
    store = await starter()
    await written(store, "mine", b"bytes", COMPLETE)
    await store.close()
    await asyncio.to_thread(fill, disk.root / "catalog.sqlite", MILLION)
    begin = time.process_time()
    store = await starter()
    assert (await store.info("id 777777")).key == f"{777_777 + 10:x}-x"
    assert await stored(store, "mine") == b"bytes"
    with pytest.raises(StreamNotFound):
        await store.info("nobody")
    await written(store, "new", b"bytes", COMPLETE)
    new = await store.create(NewStream(id="id 777777"), replace=True)
    assert new.replaced
    await store.delete(new.key)
    newest = store.find(Query())
    assert [(await anext(newest)).id for _ in range(2)] == ["new", f"id {MILLION}"]
    Inside(store).request_checkpoint()
    await until(lambda: len(Inside(store).table.all()) == 0)
    assert time.process_time() - begin < 1
    begin = time.process_time()
    assert await ids(store, prefix="id 77777", below=1 << 40) == [
        *(f"id {n}" for n in range(777779, 777769, -1) if n != 777777),
        "id 77777",
    ]
    assert await ids(store, created_after=999.0) == ["new", "mine"]
    assert await ids(store, states=frozenset({State.ABORTED})) == []
    assert await ids(store, metadata=(("commit", "3f2a91c"),)) == []
    assert time.process_time() - begin < 3


def fill(path, count):
    """Fill a catalog with complete streams."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    row = values(0, info(0))
    counted = {"number": "n + 10", "key": "printf('%x-x', n + 10)", "id": "'id ' || n"}
    literals = ", ".join(counted.get(name, "?") for name in COLUMNS)
    db.execute(
        f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) "
        f"INSERT INTO streams ({', '.join(COLUMNS)}) SELECT {literals} FROM c",
        [value for name, value in zip(COLUMNS, row, strict=True) if name not in counted],
    )
    db.execute("UPDATE facts SET value = ? WHERE name = 'number'", (count + 10,))
    db.execute("COMMIT")
    db.close()
