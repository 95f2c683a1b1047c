"""GET /stream/{id} with ?index or ?moments: where lines begin and when bytes arrived, for a client that shows
a part of a long stream. Owns their JSON.

    {"key": ..., "state": ..., "size": 12345678, "final": false, "lines": 98765, "indexed": 12345678,
     "places": [[line, offset, time], ...]}

Bytes [0, indexed) contain `lines` line ends. A place is the number of a line, the offset at which it begins,
and about when that byte arrived, in seconds since the Unix epoch.

    {"key": ..., "state": ..., "size": 12345678, "final": false, "moments": [[offset, time, grain], ...]}

The bytes from the offset of a moment up to the next moment arrived in [time, time + grain).
"""

import json

from loom.http.exchange import Exchange
from loom.http.searches import Searches
from loom.model import Info
from loom.streams.ranges import MAX
from loom.streams.service import Service

PLACES = 1000
MAX_PLACES = 10_000


async def answer_index(exchange: Exchange, service: Service, searches: Searches, id: str) -> None:
    """Answer `index=N` with at most N places, spread evenly from the line `from` to the line `to`."""
    count = min(exchange.number("index", PLACES), MAX_PLACES)
    lines = exchange.number("from", 1), exchange.number("to", MAX)
    async with searches.turn(exchange):
        index = await service.index(id, lines, count)
    places = [[each.line, each.offset, each.time] for each in index.places]
    await _respond(exchange, index.info, lines=index.lines, indexed=index.indexed, places=places)


async def answer_moments(exchange: Exchange, service: Service, searches: Searches, id: str) -> None:
    """Answer `moments` with when the bytes from `offset` on arrived."""
    offset = exchange.number("offset", 0, least=0)
    async with searches.turn(exchange):
        arrivals = await service.arrivals(id, offset)
    moments = [[each.offset, each.time, each.grain] for each in arrivals.moments]
    await _respond(exchange, arrivals.info, moments=moments)


async def _respond(exchange: Exchange, info: Info, **members: object) -> None:
    common = {"key": info.key, "state": info.state, "size": info.size, "final": info.state.final}
    exchange.record.state = info.state
    await exchange.respond_json(json.dumps({**common, **members}, separators=(",", ":")))
