"""/streams: list streams, delete many. Owns the words of a query, and how a stream is told in JSON."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace

from loom.access.auth import Action
from loom.errors import BadRequest, Forbidden
from loom.http.exchange import Exchange
from loom.http.headers import NO_STORE, NOSNIFF, digest_field
from loom.http.problem import Headers, problem
from loom.model import Info, Query, State
from loom.streams.service import Service
from loom.wire.times import parse_rfc3339, rfc3339

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000


class Listing:
    """The handlers of /streams."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def read(self, exchange: Exchange) -> None:
        """GET /streams: those that match, newest first, a page at a time."""
        visible = exchange.visible()
        query, limit = parse_query(exchange.query_params.multi_items())
        prefix = exchange.principal.within(query.prefix)
        infos: list[Info] = []
        below = None
        if prefix is not None:
            infos, below = await self._service.listing.find(replace(query, prefix=prefix), limit)
        rows = ",\n".join(row(info) for info in infos if visible(info.id))
        cursor = json.dumps(None if below is None else f"{below:x}")
        await answer_json(exchange, f'{{"streams": [\n{rows}\n], "cursor": {cursor}}}\n')

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /streams?prefix=...: all that match, if `confirm` is their number; none with `dry_run`."""
        given = once(exchange.query_params.multi_items(), {"prefix", "confirm", "dry_run"})
        dry = exchange.flag("dry_run")
        confirmed = _number(given, "confirm", least=0)
        if "prefix" not in given:
            raise BadRequest("Say which streams: prefix=... is missing. An empty prefix means every stream.")
        if not (exchange.principal.may(Action.REPLACE) and exchange.principal.covers_all(given["prefix"])):
            raise Forbidden("This token does not allow to delete all of these streams.")
        query = Query(prefix=given["prefix"])
        count, below = await self._service.listing.count(query)
        if dry:
            await answer_json(exchange, f'{{"count": {count}}}\n')
        elif confirmed != count:
            detail = f"{count} streams match; confirm={count} deletes them."
            await exchange.respond(*problem(409, "unconfirmed", detail, count=count))
        else:
            deleted = await self._service.listing.delete(replace(query, below=below))
            await answer_json(exchange, f'{{"deleted": {deleted}}}\n')


def parse_query(parameters: Iterable[tuple[str, str]]) -> tuple[Query, int]:
    """The query and the limit that these parameters ask for. Raises BadRequest; a word that is not known is
    refused, or a slip would list what was not asked for."""
    states: set[State] = set()
    metadata: list[tuple[str, str]] = []
    others = []
    for name, value in parameters:
        if name == "state":
            states.update(map(_state, value.split(",")))
        elif name.startswith("meta."):
            metadata.append((name.removeprefix("meta."), value))
        else:
            others.append((name, value))
    given = once(others, {"prefix", "created_after", "limit", "cursor"})
    limit = _number(given, "limit", least=1)
    query = Query(
        states=frozenset(states),
        prefix=given.get("prefix", ""),
        metadata=tuple(metadata),
        created_after=parse_time(given["created_after"]) if "created_after" in given else None,
        below=_cursor(given["cursor"]) if given.get("cursor") else None,
    )
    return query, DEFAULT_LIMIT if limit is None else min(limit, MAX_LIMIT)


def parse_time(text: str) -> float:
    """A time as RFC 3339 or in seconds since the Unix epoch. Raises BadRequest."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_rfc3339(text)
    if not math.isfinite(seconds):
        raise BadRequest("A time is given as 2026-01-31T12:00:00Z or in seconds since 1970.")
    return seconds


def row(info: Info) -> str:
    """A stream in one line of JSON. Its metadata stands there as it was sent."""
    told = {
        "id": info.id,
        "key": info.key,
        "state": info.state,
        "reason": info.reason,
        "size": info.size,
        "content_type": info.content_type,
        "created": rfc3339(info.created),
        "ended": None if info.ended is None else rfc3339(info.ended),
        "expires": None if info.expires is None else rfc3339(info.expires),
        "digest": None if info.digest is None else digest_field(info.digest),
    }
    return f'{json.dumps(told)[:-1]}, "metadata": {info.metadata}}}'


def _state(word: str) -> State:
    try:
        return State(word.strip())
    except ValueError:
        raise BadRequest(f"A state is one of {', '.join(State)}.") from None


def _number(given: dict[str, str], name: str, *, least: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise BadRequest(f"The query parameter {name} is a whole number, {least} or more.")
    return int(text)


def _cursor(text: str) -> int:
    if len(text) < 16 and not text.strip("0123456789abcdef"):
        return int(text, 16)
    raise BadRequest("This cursor is none that was given out here; begin without one.")


def once(parameters: Iterable[tuple[str, str]], known: set[str]) -> dict[str, str]:
    """The parameters by name. Raises BadRequest for one that is not `known`, or given more than once."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            raise BadRequest(
                f"The query parameter {name[:80]} is not known here; {', '.join(sorted(known))} are."
            )
        if name in given:
            raise BadRequest(f"The query parameter {name} was given more than once.")
        given[name] = value
    return given


async def answer_json(exchange: Exchange, text: str) -> None:
    """Answer with JSON in ASCII."""
    body = text.encode("ascii")
    headers: Headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await exchange.respond(200, [*headers, NO_STORE, NOSNIFF], body)
