"""Every error that Loom raises on purpose, with a stable `code`. `http/problem.py` maps them to statuses.

LoomError
├── BadRequest                malformed or contradictory
│   ├── InvalidId
│   ├── InvalidMetadata
│   ├── InconsistentLength    the announced length does not match
│   ├── TooLarge
│   ├── UnsupportedEncoding
│   ├── UnsupportedPatch
│   └── ChecksumMismatch      a body does not match the checksum sent with it
├── Unauthorized
├── Forbidden
├── ProducerFenced            the same idempotent producer has begun a later epoch
├── StreamNotFound
├── ProducerIdle
├── Conflict                  the stream is in another state than the request expects
│   ├── StreamExists
│   ├── StreamFinal           the stream is complete or aborted
│   ├── OffsetMismatch        carries the offset to resume from
│   ├── UploadEnded           an upload was aborted
│   ├── SequenceGap           an append of an idempotent producer is missing
│   ├── EpochMismatch         another producer took the stream over
│   └── VersionMismatch       a compare-and-set failed
├── DigestMismatch            the stored bytes are not those the producer sent
├── PreconditionFailed
├── RangeNotSatisfiable       carries the stream's size
├── Misdirected
├── WriterLost                the producer must stop
│   ├── Fenced                another producer took the stream over
│   ├── StreamGone            the stream was deleted or replaced
│   └── StreamFailed          its bytes could not be stored
├── StreamAborted             the stream ended without being complete
├── StreamDamaged             stored bytes are missing or wrong
├── SizeLimit                 the stream reached its maximum size
├── StorageFull
├── Busy                      a limit of this machine is reached
│   ├── TooMany               a configured limit is reached
│   └── TooManySearches       of one client
├── SearchFailed              the process that searched ended
├── QuotaExceeded             a token used up its quota
├── Throttled                 too many requests or wrong tokens of one client
├── StoreStopped              a flush failed, or the store is closed
└── ConfigError               the server cannot start
"""


class LoomError(Exception):
    """The root of all errors. `str()` is a sentence for the user and names no path of the server.

    `retry_after` is the number of seconds after which a retry makes sense, or None if that is unknown.
    """

    code = "internal"
    retry_after: float | None = None


class BadRequest(LoomError):
    """The request is malformed or contradicts itself."""

    code = "bad_request"


class InvalidId(BadRequest):
    """The id is not a valid stream id."""

    code = "invalid_id"


class InvalidMetadata(BadRequest):
    """The metadata is not one JSON value within the size limit."""

    code = "invalid_metadata"


class TooLarge(BadRequest):
    """A request body exceeds the limit of its kind."""

    code = "too_large"


class UnsupportedEncoding(BadRequest):
    """A request body has a content coding. Loom stores bytes as they are (RFC 9110 section 8.4)."""

    code = "unsupported_encoding"


class InconsistentLength(BadRequest):
    """The announced length differs from the bytes sent, or from an earlier announcement."""

    code = "inconsistent_length"


class UnsupportedPatch(BadRequest):
    """A patch has an unsupported content type. The response lists those supported (RFC 5789 section 2.2)."""

    code = "unsupported_patch"


class Unauthorized(LoomError):
    """The token is missing or unknown (RFC 6750 section 3)."""

    code = "unauthorized"

    def __init__(self, detail: str, *, wrong: bool = False) -> None:
        super().__init__(detail)
        self.wrong = wrong
        """True if the token never was one of this server: it may be a guess."""


class Forbidden(LoomError):
    """The token is known but does not allow this."""

    code = "forbidden"


class ProducerFenced(LoomError):
    """An idempotent producer sent an epoch that is older than its latest one, which is `epoch`."""

    code = "producer_fenced"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"This Producer-Id has begun epoch {epoch}; an older one may not append any more.")
        self.epoch = epoch


class StreamNotFound(LoomError):
    """No stream has this id, or the key no longer exists."""

    code = "not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"The stream with ID {id} does not exist")


class ProducerIdle(LoomError):
    """The producer sent nothing for longer than the configured limit."""

    code = "idle"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The producer sent nothing for {seconds:g} seconds, the idle limit. Reconnect to resume."
        )


class Conflict(LoomError):
    """The stream is in another state than the request expects."""

    code = "conflict"


class StreamExists(Conflict):
    """The id is in use."""

    code = "exists"

    def __init__(self, id: str) -> None:
        super().__init__(f"The stream with ID {id} already exists.")


class StreamFinal(Conflict):
    """The stream is complete or aborted and takes no more bytes or changes."""

    code = "final"


class UploadEnded(Conflict):
    """An upload was aborted, so nothing can be added."""

    code = "upload_ended"


class OffsetMismatch(Conflict):
    """A producer resumed at another offset than the stream's end. `offset` is the end."""

    code = "offset_mismatch"

    def __init__(self, offset: int, provided: int) -> None:
        super().__init__(f"The stream ends at offset {offset}, not at {provided}. Resume from {offset}.")
        self.offset, self.provided = offset, provided


class SequenceGap(Conflict):
    """An idempotent producer left out an append: its next number is `expected`, not `received`."""

    code = "sequence_gap"

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"The next Producer-Seq of this producer is {expected}, not {received}.")
        self.expected, self.received = expected, received


class EpochMismatch(Conflict):
    """A producer tried to take the stream over from another epoch than the current one."""

    code = "epoch_mismatch"

    def __init__(self, epoch: int, provided: int) -> None:
        super().__init__(f"The stream's epoch is {epoch}, not {provided}: another producer took it over.")


class VersionMismatch(Conflict):
    """The stream changed since the caller read its version."""

    code = "version_mismatch"


class ChecksumMismatch(BadRequest):
    """The body of a request does not match the checksum sent with it. Nothing of it is stored."""

    code = "checksum_mismatch"


class DigestMismatch(LoomError):
    """The stored bytes do not match the digest that the producer sent. The stream is aborted."""

    code = "digest_mismatch"


class PreconditionFailed(LoomError):
    """A condition of the request does not hold (RFC 9110 section 13)."""

    code = "precondition_failed"


class RangeNotSatisfiable(LoomError):
    """The requested range contains no byte. `size` is the stream's size (RFC 9110 section 15.5.17)."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The stream has {size} bytes; the requested range contains none of them.")
        self.size = size


class Misdirected(LoomError):
    """The request names a host that this server does not serve (RFC 9110 section 15.5.20)."""

    code = "misdirected"


class WriterLost(LoomError):
    """The producer must stop. Its durable bytes are kept."""

    code = "writer_lost"


class Fenced(WriterLost):
    """Another producer took the stream over."""

    code = "fenced"


class StreamGone(WriterLost):
    """The stream was deleted or replaced during the operation."""

    code = "gone"


class StreamFailed(WriterLost):
    """The stream's bytes could not be stored. Those below the durable size are safe."""

    code = "stream_failed"


class StreamAborted(LoomError):
    """The stream ended without being complete. A response that promised its end is cut."""

    code = "aborted"


class StreamDamaged(LoomError):
    """Stored bytes are missing or differ from what was stored."""

    code = "damaged"


class SizeLimit(LoomError):
    """The stream reached its maximum size. Bytes up to the limit are stored."""

    code = "size_limit"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The stream exceeds the limit of {limit} bytes. Send the rest as another stream.")


class StorageFull(LoomError):
    """The disk, or the space that this server may use, is full."""

    code = "storage_full"


class Busy(LoomError):
    """A limit of this machine is reached, such as open files. Retry later."""

    code = "busy"
    retry_after = 1.0


class TooMany(Busy):
    """A configured limit on simultaneous streams or followers is reached."""

    code = "too_many"
    retry_after = 10.0


class TooManySearches(Busy):
    """The client has too many listings and searches under way."""

    code = "too_many_searches"


class SearchFailed(LoomError):
    """The process that searched a stream ended early, or took too long."""

    code = "search_failed"


class QuotaExceeded(LoomError):
    """A token has used up its quota."""

    code = "quota_exceeded"

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Throttled(LoomError):
    """The client sent too many requests, or too many wrong tokens."""

    code = "throttled"

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StoreStopped(LoomError):
    """The store has stopped: it was closed, or a flush failed."""

    code = "stopped"
    retry_after = 1.0


class ConfigError(LoomError):
    """A setting or the data directory prevents the start."""

    code = "config"
