"""GET and DELETE /streams, GET /folders: list streams and folders, delete many.

Owns the parameters of a query.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from loom.access.auth import Action
from loom.errors import BadRequest, Forbidden
from loom.http.exchange import Exchange
from loom.http.problem import problem
from loom.http.searches import Searches
from loom.model import Folder, Info, Outcome, Query, State
from loom.streams.service import Service
from loom.wire.rows import encode_row
from loom.wire.times import parse_rfc3339

Word = TypeVar("Word", State, Outcome)

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_FILTERS = 16
"""Different filters on metadata in one query."""


class Lists:
    """The handlers of /streams and /folders."""

    def __init__(self, service: Service, searches: Searches) -> None:
        self._service = service
        self._searches = searches

    async def read(self, exchange: Exchange) -> None:
        """GET /streams: list the streams that match, newest first, one page."""
        visible = exchange.visible()
        query, limit = parse_query(exchange.query_params.multi_items())
        prefix = exchange.principal.ids.within(query.prefix)
        counted = exchange.flag("count")
        infos: list[Info] = []
        below, total = None, 0
        if prefix is not None:
            query = replace(query, prefix=prefix)
            async with self._searches.turn(exchange):
                infos, below = await self._service.listing.find(query, limit)
                if counted:
                    total = await self._service.listing.total(replace(query, below=None), visible)
        rows = ",\n".join(encode_row(info) for info in infos if visible(info.id))
        cursor = json.dumps(None if below is None else f"{below:x}")
        count = f', "count": {total}' if counted else ""
        await exchange.respond_json(f'{{"streams": [\n{rows}\n], "cursor": {cursor}{count}}}')

    async def folders(self, exchange: Exchange) -> None:
        """GET /folders?prefix=...: list the folders under a prefix, the one with the newest stream first."""
        prefix = once(exchange.query_params.multi_items(), {"prefix"}).get("prefix", "")
        visible, allowed = exchange.visible(), exchange.principal.ids
        start = allowed.within(prefix)
        count, folders = 0, list[Folder]()
        if start is not None:
            async with self._searches.turn(exchange):
                count, folders = await self._service.listing.folders(start)
                if not allowed.contains_all(start):
                    count = await self._service.listing.total(Query(prefix=start), visible)
        # A token covers all of a folder or none of it.
        shown = [each for each in folders if visible(each.newest.id)]
        rows = ",\n".join(map(_encode_folder, shown))
        await exchange.respond_json(f'{{"folders": [\n{rows}\n], "count": {count}}}')

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /streams?prefix=...: delete all that match if `confirm` is their number.

        With `dry_run` count them only.
        """
        given = once(exchange.query_params.multi_items(), {"prefix", "confirm", "dry_run"})
        dry = exchange.flag("dry_run")
        confirmed = _number(given, "confirm", least=0)
        if "prefix" not in given:
            raise BadRequest("Name the streams with prefix=...; an empty prefix means every stream.")
        if not (
            exchange.principal.may(Action.REPLACE) and exchange.principal.ids.contains_all(given["prefix"])
        ):
            raise Forbidden("This token may not delete all of these streams.")
        query = Query(prefix=given["prefix"])
        async with self._searches.turn(exchange):
            count, below = await self._service.listing.count(query)
        if dry:
            await exchange.respond_json(f'{{"count": {count}}}')
        elif confirmed != count:
            detail = f"{count} streams match; confirm={count} deletes them."
            await exchange.respond(*problem(409, "unconfirmed", detail, count=count))
        else:
            deleted = await self._service.listing.delete(replace(query, below=below))
            exchange.audit("streams.deleted", prefix=given["prefix"], count=deleted)
            await exchange.respond_json(f'{{"deleted": {deleted}}}')


def _encode_folder(folder: Folder) -> str:
    members = {"prefix": folder.prefix, "count": folder.count, "failures": folder.failures}
    return f'{json.dumps(members)[:-1]}, "newest": {encode_row(folder.newest)}}}'


def parse_query(parameters: Iterable[tuple[str, str]]) -> tuple[Query, int]:
    """Return the query and the limit that these parameters mean. Raises BadRequest.

    An unknown parameter is refused: if a misspelt filter were ignored, too many streams would be listed.
    """
    states: set[State] = set()
    outcomes: set[Outcome] = set()
    metadata: dict[tuple[str, str], None] = {}
    others = []
    for name, value in parameters:
        if name == "state":
            states |= words_of(State, value)
        elif name == "outcome":
            outcomes |= words_of(Outcome, value)
        elif name.startswith("meta."):
            metadata[name.removeprefix("meta."), value] = None
            if len(metadata) > MAX_FILTERS:
                raise BadRequest(f"A query may have at most {MAX_FILTERS} filters on metadata.")
        else:
            others.append((name, value))
    given = once(
        others,
        {"prefix", "contains", "created_after", "limit", "cursor", "count", "state", "outcome", "meta.<key>"},
    )
    limit = _number(given, "limit", least=1)
    query = Query(
        states=frozenset(states),
        outcomes=frozenset(outcomes),
        prefix=given.get("prefix", ""),
        contains=given.get("contains", ""),
        metadata=tuple(metadata),
        created_after=parse_time(given["created_after"]) if "created_after" in given else None,
        below=_cursor(given["cursor"]) if given.get("cursor") else None,
    )
    return query, DEFAULT_LIMIT if limit is None else min(limit, MAX_LIMIT)


def parse_time(text: str) -> float:
    """Parse a time in RFC 3339 or in seconds since the Unix epoch. Raises BadRequest."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_rfc3339(text)
    if not math.isfinite(seconds):
        raise BadRequest("A time must be of the form 2026-01-31T12:00:00Z or seconds since 1970.")
    return seconds


def words_of(kind: type[Word], text: str) -> set[Word]:
    """Return the words of an enumeration in a text that separates them by commas. Raises BadRequest."""
    try:
        return {kind(word.strip()) for word in text.split(",")}
    except ValueError:
        name = kind.__name__.lower()
        raise BadRequest(f"The query parameter {name} must be one of {', '.join(kind)}.") from None


def _number(given: dict[str, str], name: str, *, least: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise BadRequest(f"The query parameter {name} must be a whole number of {least} or more.")
    return int(text)


def _cursor(text: str) -> int:
    if len(text) < 16 and not text.strip("0123456789abcdef"):
        return int(text, 16)
    raise BadRequest("This cursor is not one that this server sent; begin without one.")


def once(parameters: Iterable[tuple[str, str]], known: set[str]) -> dict[str, str]:
    """Return the parameters by name. Raises BadRequest for an unknown one, or one given more than once."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            raise BadRequest(
                f"The query parameter {name[:80]} is not known; this path knows {', '.join(sorted(known))}."
            )
        if name in given:
            raise BadRequest(f"The query parameter {name} was given more than once.")
        given[name] = value
    return given
