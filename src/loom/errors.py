"""Everything Loom raises on purpose. Each class has a stable `code` and an HTTP `status`.

LoomError
├── BadRequest                400, or as it says
│   ├── InvalidId             400
│   ├── InvalidMetadata       400
│   ├── InconsistentLength    400  not as many bytes as were announced
│   ├── TooLarge              413
│   ├── UnsupportedEncoding   415
│   └── UnsupportedPatch      415
├── Unauthorized              401
├── Forbidden                 403
├── StreamNotFound            404
├── ProducerIdle              408
├── Conflict                  409
│   ├── StreamExists          409
│   ├── StreamFinal           409  the stream has ended for good
│   ├── OffsetMismatch        409  carries the right offset
│   ├── EpochMismatch         409  another producer came to the stream
│   └── VersionMismatch       409  a compare-and-set lost
├── DigestMismatch            422  the bytes are not those their producer meant
├── PreconditionFailed        412  the request names another stream than this
├── RangeNotSatisfiable       416  carries the size there is
├── Misdirected               421
├── WriterLost                     a producer may not go on
│   ├── Fenced                409  another producer took over
│   ├── StreamGone            409  deleted or replaced
│   └── StreamFailed          507  its bytes could not be stored
├── StreamAborted             409  a follower's stream did not complete
├── StreamDamaged             500  stored bytes are missing or wrong
├── SizeLimit                 413  a stream has all the bytes that one may have
├── StorageFull               507
├── Busy                      503  a limit of this machine; try again later
│   └── TooMany               503  of streams or followers at once
├── QuotaExceeded             429  a token has taken what it may for now
├── StoreStopped              503  a flush failed, or the store is closed
└── ConfigError                    the server cannot start as told
"""

PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types"
"""Where the problem types of draft-ietf-httpbis-resumable-upload are to be registered."""


class LoomError(Exception):
    """The root. `str()` is a sentence for the person who asked; it names no path.

    `type` is the problem's type (RFC 9457 section 3.1.1) where there is one that others know. `retry_after`
    is in seconds, None where trying again makes no sense or nobody knows when.
    """

    code = "internal"
    status = 500
    type = "about:blank"
    retry_after: float | None = None


class BadRequest(LoomError):
    """The request cannot be meant as it stands."""

    code = "bad_request"
    status = 400


class InvalidId(BadRequest):
    """The id may not name a stream."""

    code = "invalid_id"


class InvalidMetadata(BadRequest):
    """The metadata is not one JSON value within the limit."""

    code = "invalid_metadata"


class TooLarge(BadRequest):
    """A request body longer than any that could be meant."""

    code = "too_large"
    status = 413


class UnsupportedEncoding(BadRequest):
    """A request body with a Content-Encoding: Loom stores bytes as they are (RFC 9110 section 8.4)."""

    code = "unsupported_encoding"
    status = 415


class InconsistentLength(BadRequest):
    """A producer announced another number of bytes than it sent, or than it announced before."""

    code = "inconsistent_length"
    type = f"{PROBLEM_TYPES}#inconsistent-upload-length"


class UnsupportedPatch(BadRequest):
    """A PATCH of a content type that is not taken; the answer says which are (RFC 5789 section 2.2)."""

    code = "unsupported_patch"
    status = 415


class Unauthorized(LoomError):
    """No token, or one that is not known (RFC 6750 section 3)."""

    code = "unauthorized"
    status = 401


class Forbidden(LoomError):
    """Known, but not allowed."""

    code = "forbidden"
    status = 403


class StreamNotFound(LoomError):
    """No stream of that id, or the key is no longer there."""

    code = "not_found"
    status = 404

    def __init__(self, id: str) -> None:
        super().__init__(f"The stream with ID {id} does not exist")


class ProducerIdle(LoomError):
    """The producer sent nothing for longer than the server allows; off unless set."""

    code = "idle"
    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Nothing came for {seconds:g} seconds; this server waits no longer.")


class Conflict(LoomError):
    """The stream is not as the request takes it to be."""

    code = "conflict"
    status = 409


class StreamExists(Conflict):
    """The id is taken."""

    code = "exists"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"The stream with ID {id} already exists. Specify force=true query param to override."
        )


class StreamFinal(Conflict):
    """The stream is complete or aborted: nothing can be added or changed."""

    code = "final"
    type = f"{PROBLEM_TYPES}#completed-upload"


class OffsetMismatch(Conflict):
    """A producer offered to go on at another offset than the stream's end; `offset` is the right one."""

    code = "offset_mismatch"
    type = f"{PROBLEM_TYPES}#mismatching-upload-offset"

    def __init__(self, offset: int, provided: int) -> None:
        super().__init__(f"The stream ends at offset {offset}, not at {provided}; go on from there.")
        self.offset = offset
        self.provided = provided


class EpochMismatch(Conflict):
    """A producer meant to take the stream over from another epoch than the one it has."""

    code = "epoch_mismatch"

    def __init__(self, epoch: int, provided: int) -> None:
        super().__init__(f"The stream's epoch is {epoch}, not {provided}: another producer came to it.")


class VersionMismatch(Conflict):
    """Someone else changed the stream first."""

    code = "version_mismatch"


class DigestMismatch(LoomError):
    """What was stored is not what its producer meant to send, by Stream-Digest: the stream is aborted."""

    code = "digest_mismatch"
    status = 422


class PreconditionFailed(LoomError):
    """A condition of the request does not hold (RFC 9110 section 13)."""

    code = "precondition_failed"
    status = 412


class RangeNotSatisfiable(LoomError):
    """A Range with no byte in it; `size` is how many there are (RFC 9110 section 15.5.17)."""

    code = "range_not_satisfiable"
    status = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"The stream has {size} bytes, none of them in that range.")
        self.size = size


class Misdirected(LoomError):
    """A Host this server does not answer for (RFC 9110 section 15.5.20)."""

    code = "misdirected"
    status = 421


class WriterLost(LoomError):
    """This producer may not go on; what it sent so far is kept as far as it was durable."""

    code = "writer_lost"
    status = 409


class Fenced(WriterLost):
    """Another producer has taken the stream over."""

    code = "fenced"


class StreamGone(WriterLost):
    """The stream was deleted or replaced under the producer."""

    code = "gone"


class StreamFailed(WriterLost):
    """The stream's bytes could not be stored; those before the durable size are safe."""

    code = "stream_failed"
    status = 507


class StreamAborted(LoomError):
    """The stream ended without its producer saying it is complete; a follower's answer is cut."""

    code = "aborted"
    status = 409


class StreamDamaged(LoomError):
    """Stored bytes are missing or not what was stored."""

    code = "damaged"
    status = 500


class SizeLimit(LoomError):
    """A stream has all the bytes that one may have here; what came before is stored."""

    code = "size_limit"
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"A stream has {limit} bytes at most here; send what is more as another one.")


class StorageFull(LoomError):
    """Too little space is left, on the disk or of what this server may use."""

    code = "storage_full"
    status = 507


class Busy(LoomError):
    """A limit of this machine is reached, open files for one; the same request may work later."""

    code = "busy"
    status = 503
    retry_after = 1.0


class TooMany(Busy):
    """A limit that was set on how many there may be at once."""

    code = "too_many"
    retry_after = 10.0


class QuotaExceeded(LoomError):
    """A token has taken what it may, for now."""

    code = "quota_exceeded"
    status = 429

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StoreStopped(LoomError):
    """The store takes and shows nothing more: it was closed, or a flush failed."""

    code = "stopped"
    status = 503
    retry_after = 1.0


class ConfigError(LoomError):
    """A setting or the data directory makes it impossible to start."""

    code = "config"
