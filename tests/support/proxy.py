"""A bad network: a TCP proxy that delays, cuts, stalls and half-closes what passes through it.

Knows nothing of HTTP. A seed determines the faults of each connection, so a storm can be repeated.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from tests.support.wire import Wire

PIECE = 64 << 10


class Way(StrEnum):
    """A direction."""

    UP = "to the server"
    DOWN = "to the client"


class Kind(StrEnum):
    """The kinds of faults of a connection."""

    RESET = "both ends get RST, what is on its way is lost"
    CLOSE = "both ends get FIN in the middle of whatever it was"
    HALF_CLOSE = "the receiving end gets FIN, the other direction continues"
    STALL = "nothing passes for a while; what comes then may be of a client that left long ago"


CUTS = (Kind.RESET, Kind.CLOSE, Kind.HALF_CLOSE)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault after `after` more bytes in that direction; `hold` is the duration of a stall in seconds."""

    kind: Kind
    way: Way
    after: int = 0
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Weather:
    """The faults of a connection, in order. Bytes pass in pieces of `piece`, each delayed by `delay`
    seconds.
    """

    faults: tuple[Fault, ...] = ()
    delay: float = 0.0
    piece: int = PIECE


CALM = Weather()


class Storm:
    """Random weather until so many connections were cut, then weather without faults.

    `up` and `down` bound the bytes that pass before a fault, in each direction.
    """

    def __init__(self, seed: int, *, cuts: int, up: int, down: int, stalls: float = 0.03) -> None:
        self.struck: Counter[Kind] = Counter()
        self._random = random.Random(seed)
        self._left = cuts
        self._bounds = {Way.UP: up, Way.DOWN: down}
        self._stalls = stalls

    @property
    def cuts(self) -> int:
        """The number of connections that were cut."""
        return sum(self.struck[kind] for kind in CUTS)

    def weather(self) -> Weather:
        """Of the next connection."""
        draw = self._random
        way = draw.choice(list(Way))
        first, second = sorted(draw.randrange(self._bounds[way]) for _ in range(2))
        stalls = draw.random() < self._stalls
        faults = [Fault(draw.choice(CUTS), way, second - first if stalls else second)]
        if stalls:
            faults.insert(0, Fault(Kind.STALL, way, first, draw.uniform(0.1, 0.4)))
        delay, piece = draw.choice([(0.0, PIECE), (0.0, PIECE), (0.001, 4096), (0.0, 1000)])
        if not self._left:
            return CALM
        return Weather(tuple(faults), delay, piece)

    def strike(self, fault: Fault) -> bool:
        """Record a fault; return False if there were enough of them."""
        if fault.kind in CUTS:
            if not self._left:
                return False
            self._left -= 1
        self.struck[fault.kind] += 1
        return True


class Always:
    """The same weather for every connection."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    def weather(self) -> Weather:
        """Of the next connection."""
        return self._weather

    def strike(self, fault: Fault) -> bool:
        """Return True: the fault always happens."""
        return True


class Proxy:
    """Passes connections on to a server, with the faults of the weather."""

    port: int
    """Where it listens."""

    def __init__(self, host: str, port: int, storm: Storm | Always) -> None:
        self.storm = storm
        self.connections = 0
        self._target = host, port
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL that clients use in place of the server's."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Proxy"]:
        """Pass connections while the block runs; cut the remaining ones at its end."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._passing:
                task.cancel()
            await asyncio.gather(*self._passing, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._pass(Wire(reader, writer)))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass(self, client: Wire) -> None:
        weather = self.storm.weather()
        try:
            server = await Wire.open(*self._target)
        except OSError:
            client.reset()
            return
        link = _Link(client, server, weather, self.storm)
        try:
            await asyncio.gather(link.relay(Way.UP), link.relay(Way.DOWN))
            for end in (client, server):
                end.writer.close()
                with suppress(OSError):
                    await end.writer.wait_closed()
        finally:
            for end in (client, server):
                end.writer.transport.abort()


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: Wire, server: Wire, weather: Weather, storm: Storm | Always) -> None:
        self._ends = {Way.UP: (client, server), Way.DOWN: (server, client)}
        self._weather = weather
        self._storm = storm
        self._deaf: set[Way] = set()
        """The ways whose receiver has got FIN."""

    async def relay(self, way: Way) -> None:
        """Pass bytes in one direction, with the faults of the weather. A reset of one side resets the
        other.
        """
        source = self._ends[way][0]
        passed = 0
        faults = [fault for fault in self._weather.faults if fault.way is way]
        try:
            while data := await source.reader.read(self._weather.piece):
                await asyncio.sleep(self._weather.delay)
                while faults and passed + len(data) > faults[0].after:
                    fault = faults.pop(0)
                    before = fault.after - passed
                    await self._write(way, data[:before])
                    await self._strike(fault)
                    data, passed = data[before:], 0
                passed += len(data)
                await self._write(way, data)
            self._finish(way)
        except OSError:
            self._reset()

    async def _write(self, way: Way, data: bytes) -> None:
        if way not in self._deaf:
            await self._ends[way][1].send(data)

    async def _strike(self, fault: Fault) -> None:
        if not self._storm.strike(fault):
            return
        match fault.kind:
            case Kind.RESET:
                self._reset()
            case Kind.CLOSE:
                self._finish(Way.UP)
                self._finish(Way.DOWN)
            case Kind.HALF_CLOSE:
                self._finish(fault.way)
            case Kind.STALL:
                await asyncio.sleep(fault.hold)

    def _finish(self, way: Way) -> None:
        sink = self._ends[way][1]
        if way not in self._deaf and not sink.writer.transport.is_closing():
            sink.half_close()
        self._deaf.add(way)

    def _reset(self) -> None:
        self._deaf.update(Way)
        for end in self._ends[Way.UP]:
            if not end.writer.transport.is_closing():
                end.reset()
