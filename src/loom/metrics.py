"""The metrics, each declared once with its name and meaning.

Registers them in the registry that `Metrics` is given, and nowhere else. Values that change with every byte
are not counted here: a scrape reads them from the parts that hold them. Knows nothing of HTTP or stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The values at one moment. `received` and `sent` count all bytes so far, `streams` counts by state.

    `refused` and `closed` count the connections that were, because there were too many. `stored` is None if
    the store has failed, `free` if it has no disk. `charged` counts against `max_store_bytes`. `searches`
    counts by how they ended, `searched` the bytes, and `searching` the processes.
    """

    producers: int
    followers: int
    lagging: int
    lag: int
    held: int
    received: int
    sent: int
    ready: bool
    charged: int = 0
    connections: int = 0
    refused: int = 0
    closed: int = 0
    searched: int = 0
    searching: int = 0
    stored: int | None = None
    free: int | None = None
    streams: Mapping[str, int] = field(default_factory=dict)
    searches: Mapping[str, int] = field(default_factory=dict)


class Metrics:
    """One server's metrics, in one registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(name, meaning, labels, registry=registry)

        self._build = gauge(
            "loom_build_info", "Always 1, labelled with version, store and durability.", *BUILD
        )
        self._ready = gauge("loom_ready", "1 while the server accepts new work, as /readyz reports.")
        self._producers = gauge("loom_producers", "Producers connected now.")
        self._followers = gauge("loom_followers", "Followers connected now.")
        self._lagging = gauge(
            "loom_followers_behind", "Followers that lag and read stored bytes to catch up."
        )
        self._lag = gauge("loom_follower_lag_bytes", "Durable bytes not yet sent to the slowest follower.")
        self._held = gauge("loom_tail_bytes", "Memory used for the recent bytes of followed streams.")
        self._received = counter("loom_received_bytes", "Bytes of streams received from producers.")
        self._sent = counter("loom_sent_bytes", "Bytes of responses written to sockets.")
        self._connections = gauge("loom_connections", "Connections open now.")
        self._refused = counter("loom_refused_connections", "Connections refused: there were too many.")
        self._closed = counter("loom_closed_connections", "Idle connections closed to make room for others.")
        self._streams = gauge("loom_streams", "Stored streams, by state.", "state")
        self._stored = gauge("loom_stored_bytes", "Bytes of all stored streams.")
        self._charged = gauge(
            "loom_charged_bytes", "Bytes that count against max_store_bytes, metadata and rows included."
        )
        self._free = gauge("loom_disk_free_bytes", "Free space on the disk of the data directory.")
        self._requests = counter(
            "loom_requests", "Requests that have ended, by method and status.", "method", "status"
        )
        self._rejections = counter("loom_rejections", "Requests refused, by error code.", "code")
        self._cuts = counter("loom_cut_answers", "Responses cut off before their end, by cause.", "cause")
        self._commits = Histogram(
            "loom_commit_seconds",
            "Time to make one commit durable: write and flush of the log.",
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self.commit = self._commits.observe
        """Record the seconds that a commit took. May be called in any thread."""
        self._searches = counter("loom_searches", "Searches that have ended, by how.", "ended")
        self._searched = counter("loom_searched_bytes", "Bytes of streams that were searched.")
        self._searching = gauge("loom_search_workers", "Processes that run to search.")
        self._counted: dict[Counter, int] = {}

    def describe(self, version: str, store: str, durability: str) -> None:
        """Set the labels of `loom_build_info`."""
        self._build.labels(version, store, durability).set(1)

    def request(self, method: str, status: int | None, code: str, cut: str) -> None:
        """Count a request that has ended.

        `status` is None without a response. `code` is why the request was refused, and `cut` why its response
        was cut off; both may be empty.
        """
        known = method if method in METHODS else "other"
        self._requests.labels(known, "none" if status is None else str(status)).inc()
        if code:
            self._rejections.labels(code).inc()
        if cut:
            self._cuts.labels(cut).inc()

    def show(self, now: Snapshot) -> None:
        """Set the metrics to these values."""
        counts = {
            self._received: now.received,
            self._sent: now.sent,
            self._refused: now.refused,
            self._closed: now.closed,
            self._searched: now.searched,
            **{self._searches.labels(ended): count for ended, count in now.searches.items()},
        }
        for counter, count in counts.items():
            counter.inc(count - self._counted.get(counter, 0))
            self._counted[counter] = count
        self._searching.set(now.searching)
        self._connections.set(now.connections)
        self._ready.set(now.ready)
        self._producers.set(now.producers)
        self._followers.set(now.followers)
        self._lagging.set(now.lagging)
        self._lag.set(now.lag)
        self._held.set(now.held)
        self._charged.set(now.charged)
        for state, count in now.streams.items():
            self._streams.labels(state).set(count)
        for gauge, value in ((self._stored, now.stored), (self._free, now.free)):
            if value is not None:
                gauge.set(value)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the text format that `accept` prefers, and its content type.

        Reads /proc, so it may not run on the event loop.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


BUILD = ("version", "store", "durability")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
