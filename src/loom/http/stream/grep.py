"""GET /stream/{id}?grep: the lines of a stream that match a pattern, as lines of JSON. Owns the parameters.

`loom.wire.matches` has the form of the answer. The search begins and ends where a GET without `grep` would.
"""

from contextlib import AsyncExitStack

from loom.errors import BadRequest
from loom.http.exchange import Exchange
from loom.http.heartbeat import INTERVAL, with_heartbeat
from loom.http.searches import Searches
from loom.http.stream.conditions import check_match
from loom.http.stream.ranges import parse_start
from loom.http.stream.response_headers import found_headers
from loom.model import Info
from loom.streams.grep.query import MAX_CONTEXT, MAX_PATTERN, Query
from loom.streams.grep.search import Grep
from loom.streams.ranges import MAX, WHOLE, Lookup, Part
from loom.streams.service import Service
from loom.wire.times import parse_since


class StreamGrep:
    """The handler of GET and HEAD /stream/{id}?grep."""

    def __init__(self, service: Service, grep: Grep, searches: Searches) -> None:
        self._service = service
        self._grep = grep
        self._searches = searches

    async def read(self, exchange: Exchange, id: str) -> None:
        """Send the lines that match as they are found: in stored bytes, then in those that arrive."""
        query = parse_query(exchange)
        now = self._service.now()
        start = parse_start(exchange.query_params.multi_items(), lambda text: parse_since(text, now)) or WHOLE
        tail = not exchange.given("notail")

        def choose(info: Info) -> Part | Lookup:
            check_match(exchange, info)
            return start.select(info, tail)

        if exchange.head:
            async with self._searches.turn(exchange):
                await self._grep.check(query)
                info, _ = await self._service.locate(id, choose)
            await exchange.respond(200, found_headers(info))
            return
        # The turn ends with the stored bytes: a client may follow more searches than it may run at once.
        async with AsyncExitStack() as turn:
            async with exchange.attended():
                await turn.enter_async_context(self._searches.unattended_turn(exchange))
                search = await self._grep.open(id, choose, query)
            async with search:
                exchange.record.state = search.reading.info.state
                await exchange.begin(200, found_headers(search.reading.info))
                output = search.output(turn.aclose)
                await exchange.relay(with_heartbeat(output, INTERVAL, search.progress))


def parse_query(exchange: Exchange) -> Query:
    """Return what the query looks for. Raises BadRequest."""
    patterns = exchange.query_params.getlist("grep")
    if len(patterns) > 1 or not patterns[0] or len(patterns[0]) > MAX_PATTERN:
        raise BadRequest(f"The query parameter grep is one pattern of 1 to {MAX_PATTERN} characters.")
    context = exchange.number("context", 0, least=0)
    before, after = (exchange.number(name, context, least=0) for name in ("before", "after"))
    if max(before, after) > MAX_CONTEXT:
        raise BadRequest(f"At most {MAX_CONTEXT} lines are shown before and after a match.")
    limit = exchange.number("limit", MAX)
    return Query(patterns[0], exchange.flag("ignore_case"), before, after, limit)
