"""The metrics: each declared once, here, with the sentence that says what it means.

Owns their names and how they are rendered. Whoever makes a Metrics may give the registry they go to; nothing
is registered elsewhere. What changes with every byte is not counted here: it is added up from where it is
known anyway, when somebody asks. Knows nothing of HTTP, stores or streams beyond their states.
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
    """How things stand at one moment. `received` and `sent` are all bytes so far, `streams` are by state;
    `stored` is None where the store cannot tell, `free` where there is no disk."""

    producers: int
    followers: int
    behind: int
    lag: int
    held: int
    received: int
    sent: int
    ready: bool
    stored: int | None = None
    free: int | None = None
    streams: Mapping[str, int] = field(default_factory=dict)


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

        self._build = gauge("loom_build_info", "Always 1; version, store and durability.", *BUILD)
        self._ready = gauge("loom_ready", "1 while new work is taken, as /readyz says.")
        self._producers = gauge("loom_producers", "Connections that write a stream.")
        self._followers = gauge("loom_followers", "Connections that read a stream and stay for what comes.")
        self._behind = gauge("loom_followers_behind", "Followers that read from disk to catch up.")
        self._lag = gauge("loom_follower_lag_bytes", "Durable bytes the slowest follower has still to get.")
        self._held = gauge("loom_tail_bytes", "Memory that holds the recent bytes of followed streams.")
        self._received = counter("loom_received_bytes", "Bytes of streams taken from producers.")
        self._sent = counter("loom_sent_bytes", "Bytes of answers given to the server's sockets.")
        self._streams = gauge("loom_streams", "Streams there are, by state.", "state")
        self._stored = gauge("loom_stored_bytes", "Bytes of all streams there are.")
        self._free = gauge("loom_disk_free_bytes", "Space left where the data directory is.")
        self._requests = counter("loom_requests", "Requests that have ended.", "method", "status")
        self._rejections = counter(
            "loom_rejections", "Requests refused, by the code of the error (405 and 404 too).", "code"
        )
        self._cuts = counter("loom_cut_answers", "Answers that began and never came to their end.", "cause")
        self._commits = Histogram(
            "loom_commit_seconds",
            "Time to make one commit durable: the write to the log and its flush.",
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self.commit = self._commits.observe
        """Told the seconds of every commit; from any thread."""
        self._counted = (0, 0)

    def describe(self, version: str, store: str, durability: str) -> None:
        """Say what this server is."""
        self._build.labels(version, store, durability).set(1)

    def request(self, method: str, status: int | None, code: str, cut: str) -> None:
        """A request has ended: `status` is None where nothing was answered, `code` says why it was refused,
        `cut` why its answer broke off; both may be empty."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, "none" if status is None else str(status)).inc()
        if code:
            self._rejections.labels(code).inc()
        if cut:
            self._cuts.labels(cut).inc()

    def show(self, now: Snapshot) -> None:
        """From now on this is how things stand."""
        received, sent = self._counted
        self._counted = now.received, now.sent
        self._received.inc(now.received - received)
        self._sent.inc(now.sent - sent)
        self._ready.set(now.ready)
        self._producers.set(now.producers)
        self._followers.set(now.followers)
        self._behind.set(now.behind)
        self._lag.set(now.lag)
        self._held.set(now.held)
        for state, count in now.streams.items():
            self._streams.labels(state).set(count)
        for gauge, value in ((self._stored, now.stored), (self._free, now.free)):
            if value is not None:
                gauge.set(value)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it, in the text format that `accept` asks for, and that format's content type.

        Reads /proc: not for an event loop.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


BUILD = ("version", "store", "durability")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
