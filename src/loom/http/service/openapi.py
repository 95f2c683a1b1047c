"""GET /openapi.json: this interface as an OpenAPI 3.1 document. Owns what it says; a test keeps it complete.

What the code knows is taken from the code: states, limits, and every problem with its code and status.
"""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from loom import __version__
from loom.access.auth import Action
from loom.http.exchange import Exchange
from loom.http.problem import ROWS
from loom.http.service.listing import DEFAULT_LIMIT, MAX_LIMIT
from loom.http.service.tokens import MAX_SECONDS
from loom.http.stream.lifetime import MAX_TTL
from loom.http.stream.upload_headers import MAX_KEY_BYTES, MAX_RESUME_WINDOW
from loom.model import MAX_ID_CHARS, ChangeKind, State
from loom.wire.media import PARTIAL_UPLOAD

Node = dict[str, Any]

TRANSPORT_PROBLEMS = {
    400: ("bad_host", "bad_target"),
    404: ("no_such_path",),
    405: ("method_not_allowed",),
    408: ("head_too_slow",),
    409: ("unconfirmed",),
    431: ("head_too_large",),
    501: ("unknown_transfer_coding",),
    503: ("not_ready",),
    505: ("http_version",),
}
"""Codes of problems that are no errors of ours: the paths and the server itself tell them."""

EVERYWHERE = (400, 401, 403, 405, 408, 421, 431, 500, 501, 503, 505)
"""What any request may be answered."""


class Document:
    """The handler of /openapi.json."""

    def __init__(self, max_metadata_bytes: int) -> None:
        self._text = json.dumps(document(max_metadata_bytes), indent=1)

    async def read(self, exchange: Exchange) -> None:
        """GET /openapi.json."""
        await exchange.respond_json(self._text)


def document(max_metadata_bytes: int) -> Node:
    """The whole of it."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Loom",
            "version": __version__,
            "summary": "Live byte streams over HTTP: stored as they arrive, followed and replayed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "parameters": _parameters(max_metadata_bytes),
            "headers": _headers(),
            "schemas": _schemas(),
            "responses": {f"Problem{status}": _problem(status) for status in _codes()},
        },
    }


def _paths() -> Node:
    creation = _operation(
        "createStream", "Create a stream under a new id", _CREATE, _created(), body=_ANY_BODY
    )
    return {
        "/stream": {"post": creation},
        "/stream/{id}": {"parameters": [_parameter("id")], **_reads(), **_writes()},
        **_many(),
        **_operations(),
    }


def _created() -> Node:
    answer = _answer(
        "The stream exists. It is success when the answer ends: every byte and the state are durable then. "
        "Without content, or with `Accept: application/x-ndjson` lines that tell of progress.",
        {},
        *("X-Stream-Id", "Location", "ETag", "X-Stream-Replaced", "Stream-TTL", "Stream-Expires-At"),
        *_UPLOAD,
    )
    return {"201": answer, **_problems(404, 409, 413, 415, 422, 429, 507)}


def _reads() -> Node:
    """GET and HEAD of a stream."""
    parameters = [
        *("offset", "lines", "line", "since", "notail", "info", "index", "from", "to", "as"),
        *("Last-Event-ID", "Range"),
        *("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"),
    ]
    stored = {"*/*": _bytes("In the content type that was given at the creation.")}
    whole = {**stored, "text/event-stream": _text("The bytes as events."), **_json("Stream", "Index")}
    description = "The stream, or its events, from the place asked for; while it is live what comes too."
    answers = {
        "200": _answer(description, whole, *_STREAM),
        "204": _answer("All events of this stream have been told.", {}),
        "206": _answer("The range of bytes asked for.", stored, *_STREAM, "Content-Range"),
        "304": _answer("The client has these bytes already.", {}, "ETag"),
        **_problems(404, 409, 412, 416),
    }
    return {
        "get": _operation("readStream", "Read a stream, and follow it", parameters, answers),
        "head": _operation("locateStream", "How far a stream is", parameters, _without_content(answers)),
    }


def _writes() -> Node:
    """POST, PATCH and DELETE of a stream."""
    resumption = [
        *("Upload-Offset*", "Upload-Complete", "Upload-Length", "Stream-Digest"),
        *("If-Match", "X-Stream-Epoch"),
    ]
    resumed = {
        "200": _answer("The same, told while it is sent.", {"application/x-ndjson": _text()}, *_UPLOAD),
        "204": _answer("What was sent is durable.", {}, "X-Stream-Id", "ETag", *_UPLOAD),
        **_problems(404, 409, 412, 413, 415, 422, 429, 507),
    }
    body = {
        PARTIAL_UPLOAD: _bytes("The bytes from Upload-Offset on."),
        "application/merge-patch+json": {"schema": {"type": "object"}},
    }
    deleted = {"204": _answer("It can not come back.", {}), **_problems(404, 409)}
    resume = "Go on with a stream where its bytes end, or change its metadata"
    return {
        "post": _operation(
            "createStreamAs", "Create a stream of this id", _CREATE, _created(), body=_ANY_BODY
        ),
        "patch": _operation("patchStream", resume, resumption, resumed, body=body),
        "delete": _operation("deleteStream", "Delete a stream for good", [], deleted),
    }


def _many() -> Node:
    """What concerns more than one stream."""
    filters = ["prefix", "state", "meta", "created_after", "limit", "cursor"]
    page = {"200": _answer("A page of them.", _json("Page"))}
    count = {"200": _answer("How many there are, or were.", _json("Count")), **_problems(409)}
    delete = "Delete all streams of a prefix, or count them"
    events = {"200": _answer("Events.", {"text/event-stream": _text("Until the client leaves.")})}
    changes = "What happens to streams as a whole: created, closed, deleted"
    woven = {"200": _answer("Text.", {"text/plain": _text()})}
    return {
        "/streams": {
            "get": _operation("listStreams", "List streams, newest first", filters, page),
            "delete": _operation("deleteStreams", delete, ["prefix*", "confirm", "dry_run"], count),
        },
        "/events": {"get": _operation("followEvents", changes, ["prefix", "Last-Event-ID"], events)},
        "/spy": {"get": _operation("spy", "Everything that is being sent, in one text", ["color"], woven)},
    }


def _operations() -> Node:
    """For those who run Loom."""
    signed = {"201": _answer("The token.", _json("Token")), **_problems(409, 413)}
    sign = "Sign a token that allows no more than one's own"
    metrics = {"200": _answer("Metrics.", {"*/*": _text()})}
    alive = {"200": _answer("It does.", _json("Health"))}
    ready = {"200": _answer("It is.", _json("Health"))}
    this = {"200": _answer("It.", {"application/json": {}})}
    return {
        "/tokens": {"post": _operation("signToken", sign, [], signed, body=_json("TokenRequest"))},
        "/metrics": {"get": _operation("metrics", "For Prometheus", [], metrics)},
        "/healthz": {"get": _open("health", "This process answers", alive)},
        "/readyz": {"get": _open("readiness", "New work is taken", ready)},
        "/openapi.json": {"get": _open("openapi", "This document", this)},
    }


def _operation(
    id: str, summary: str, parameters: Iterable[str], responses: Node, *, body: Node | None = None
) -> Node:
    told: Node = {"operationId": id, "summary": summary}
    if parameters:
        told["parameters"] = [_parameter(name) for name in parameters]
    if body is not None:
        told["requestBody"] = {"content": body}
    return {**told, "responses": dict(sorted({**responses, **_problems(*EVERYWHERE)}.items()))}


def _open(id: str, summary: str, responses: Node) -> Node:
    """Without a token."""
    return {**_operation(id, summary, [], responses), "security": []}


def _parameter(name: str) -> Node:
    """A reference, with * to one that is required."""
    return {"$ref": f"#/components/parameters/{name.replace('*', '-required')}"}


def _answer(description: str, content: Node, *headers: str) -> Node:
    told: Node = {"description": description}
    if headers:
        told["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return {**told, "content": content} if content else told


def _without_content(responses: Node) -> Node:
    return {
        status: {name: value for name, value in told.items() if name != "content"}
        for status, told in responses.items()
    }


def _text(description: str = "") -> Node:
    return {"schema": {"type": "string", **({"description": description} if description else {})}}


def _bytes(description: str) -> Node:
    return {"schema": {"description": description}}


def _json(*names: str) -> Node:
    """JSON of one of these schemas."""
    schemas = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def _problems(*statuses: int) -> Node:
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def _problem(status: int) -> Node:
    codes = _codes()[status]
    title = HTTPStatus(status).phrase
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
        ]
    }
    return {
        "description": f"{title}: {', '.join(codes)}.",
        "content": {"application/problem+json": {"schema": schema}},
    }


def _codes() -> dict[int, list[str]]:
    """The codes of all problems, by their status."""
    codes: dict[int, set[str]] = {status: set(told) for status, told in TRANSPORT_PROBLEMS.items()}
    for error, row in ROWS.items():
        codes.setdefault(row.status, set()).add(error.code)
    return {status: sorted(codes[status]) for status in sorted(codes)}


_ANY_BODY = {"*/*": _bytes("The bytes of the stream, of any type and length.")}
_CREATE = (
    *("force", "X-Stream-Metadata", "Stream-Resume-Window", "Stream-TTL", "Stream-Expires-At"),
    *("Idempotency-Key", "Upload-Complete", "Upload-Length", "Stream-Digest"),
)
_UPLOAD = ("X-Stream-Epoch", "Upload-Offset", "Upload-Complete", "Upload-Length", "Upload-Limit")
_STREAM = (
    *("X-Stream-Id", "X-Stream-Key", "X-Stream-State", "X-Stream-Metadata", "X-Stream-Offset"),
    *("Stream-TTL", "Stream-Expires-At", "ETag", "Last-Modified", "Accept-Ranges", "Repr-Digest", *_UPLOAD),
)


def _parameters(max_metadata_bytes: int) -> Node:
    count = {"type": "integer", "minimum": 0}
    text = {"type": "string"}
    flag = {"type": "string", "enum": ["", "true", "1", "false", "0"]}
    boolean = {"type": "string", "enum": ["?0", "?1"]}
    field = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
    date = {"type": "string", "examples": ["Sun, 06 Nov 1994 08:49:37 GMT"]}
    metadata = {"type": "string", "contentMediaType": "application/json", "maxLength": max_metadata_bytes}
    id = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "examples": ["builds/main/42"]}
    windows = {"type": "integer", "minimum": 0, "maximum": MAX_RESUME_WINDOW}
    query = [
        *_places(),
        ("as", {"type": "string", "enum": ["text", "binary"]}, "How events tell the bytes."),
        ("force", flag, "Replace a stream of that id."),
        ("color", text, "With colours, whatever its value."),
        ("prefix", text, "What the id begins with."),
        ("prefix-required", text, "What the id begins with; empty: every stream."),
        ("confirm", count, "How many streams there are to delete."),
        ("dry_run", flag, "Count them, delete none."),
        ("state", {"type": "array", "items": {"enum": list(State)}}, "Any of these states."),
        ("created_after", text, "RFC 3339, or seconds since 1970."),
        ("limit", {**count, "minimum": 1, "default": DEFAULT_LIMIT}, f"At most {MAX_LIMIT} at once."),
        ("cursor", text, "As the page before gave it."),
    ]
    header = [
        ("X-Stream-Metadata", metadata, "A JSON value, kept as it is written."),
        ("Stream-Resume-Window", windows, "Seconds the stream waits for a lost producer."),
        ("Stream-TTL", {**field, "maximum": MAX_TTL}, "Seconds it is kept after its end; 0: for ever."),
        ("Stream-Expires-At", {"type": "string", "format": "date-time"}, "When it is deleted."),
        ("Idempotency-Key", {**text, "maxLength": MAX_KEY_BYTES}, "The same request again is told the same."),
        ("Upload-Complete", boolean, "Whether the stream ends with this request."),
        ("Upload-Length", field, "How many bytes the stream has in all."),
        ("Upload-Offset-required", field, "Where the bytes of a PATCH begin; not for a merge patch."),
        ("Stream-Digest", text, "sha-256=:...: of the whole stream, compared at its end."),
        ("Last-Event-ID", text, "Go on behind this event."),
        ("Range", text, "RFC 9110 section 14; a last position of 10^11 or more follows (RFC 8673)."),
        ("X-Stream-Epoch", field, "Take the stream over only if it still has this epoch."),
        *((name, text, "RFC 9110 section 13.") for name in ("If-Match", "If-None-Match", "If-Range")),
        *((name, date, "RFC 9110 section 13.") for name in ("If-Modified-Since", "If-Unmodified-Since")),
    ]
    id_told = "Segments between slashes, none of them empty, . or .., percent-encoded; no control characters."
    told = {"id": {"name": "id", "in": "path", "required": True, "schema": id, "description": id_told}}
    for place, rows in (("query", query), ("header", header)):
        for key, schema, description in rows:
            name, required, _ = key.partition("-required")
            told[key] = {"name": name, "in": place, "schema": schema, "description": description}
            if required and place == "query":
                told[key]["required"] = True
    told["state"] |= {"style": "form", "explode": False}
    members = {"type": "object", "additionalProperties": {"type": "string"}}
    told["meta"] = {
        "name": "meta",
        "in": "query",
        "schema": members,
        "description": "As meta.<key>=<value>: a member of the metadata. More than one: all of them.",
    }
    return told


def _places() -> list[tuple[str, Node, str]]:
    """What says where a read begins, or where lines do."""
    line, text = {"type": "integer", "minimum": 1}, {"type": "string"}
    return [
        ("offset", {"type": "integer"}, "Begin at this byte; negative: so many before the end."),
        ("lines", {"type": "integer", "minimum": 0}, "Begin so many lines before the end."),
        ("line", line, "Begin at this line; 1 is the first."),
        ("since", text, "Begin with what arrived then: RFC 3339, or how long ago as in 1h30m or 90s."),
        ("notail", text, "Only what is stored now, whatever its value."),
        ("index", {"type": ["integer", "string"], "minimum": 1}, "Where lines begin, at so many places."),
        ("from", line, "The first line of the index."),
        ("to", line, "The last line of the index."),
        ("info", text, "What is known of the stream as JSON, whatever its value."),
    ]


def _headers() -> Node:
    integer, text = {"type": "integer"}, {"type": "string"}
    names = {
        "X-Stream-Id": (text, "The id, percent-encoded."),
        "X-Stream-Key": (text, "Names this very stream, which an id does not."),
        "X-Stream-Epoch": (integer, "How many producers it has had; a PATCH gets a new one."),
        "X-Stream-State": ({"enum": list(State)}, "Where it stands."),
        "X-Stream-Metadata": (text, "As it was given."),
        "X-Stream-Offset": (integer, "Where the answer begins."),
        "X-Stream-Replaced": (text, "true: there was a stream of that id."),
        "Stream-TTL": (integer, "Seconds it is kept after its end."),
        "Stream-Expires-At": ({"type": "string", "format": "date-time"}, "When it is deleted."),
        "Upload-Offset": (integer, "How many bytes are durable."),
        "Upload-Complete": ({"enum": ["?0", "?1"]}, "Whether it is complete."),
        "Upload-Length": (integer, "How many bytes it has in all, if that is known."),
        "Upload-Limit": (text, "max-age: seconds it waits for its producer."),
        "Location": (text, "The path of the stream."),
        "ETag": (text, "The key."),
        "Last-Modified": (text, "When a finished stream ended."),
        "Accept-Ranges": (text, "bytes."),
        "Content-Range": (text, "RFC 9110 section 14.4."),
        "Repr-Digest": (text, "sha-256 of a complete stream (RFC 9530)."),
    }
    return {name: {"schema": schema, "description": told} for name, (schema, told) in names.items()}


def _schemas() -> Node:
    integer, text, anything = {"type": "integer", "minimum": 0}, {"type": "string"}, {"description": "JSON."}
    time = {"type": "string", "format": "date-time"}
    maybe = {"type": ["string", "null"], "format": "date-time"}
    stream = {
        "id": text,
        "key": text,
        "state": {"enum": list(State)},
        "reason": text,
        "size": integer,
        "content_type": text,
        "created": time,
        "ended": maybe,
        "expires": maybe,
        "digest": {"type": ["string", "null"], "description": "As in Repr-Digest, once it is known."},
        "metadata": anything,
    }
    page = {
        "streams": {"type": "array", "items": {"$ref": "#/components/schemas/Stream"}},
        "cursor": {"type": ["string", "null"]},
    }
    wish = {
        "scopes": {"type": "array", "minItems": 1, "items": {"enum": list(Action)}},
        "id": {"type": ["string", "null"]},
        "prefix": {"type": ["string", "null"]},
        "expires_in": {"type": "number", "minimum": 1, "maximum": MAX_SECONDS},
        "name": {"type": "string", "maxLength": 100},
    }
    health = dict.fromkeys(("status", "version", "store", "durability"), text)
    problem = {"type": text, "title": text, "status": integer, "code": text, "detail": text, "error": text}
    return {
        "Stream": _object(stream),
        "Index": _index(),
        "Page": _object(page),
        "Count": _object({"count": integer, "deleted": integer}, required=()),
        "TokenRequest": {**_object(wish, required=("scopes", "expires_in")), "additionalProperties": False},
        "Token": _object({"token": text, "expires": time}),
        "Health": _object(health),
        "Change": {
            "enum": list(ChangeKind),
            "description": "The names of the events of /events; also reset.",
        },
        "Problem": _object(problem),
    }


def _index() -> Node:
    integer = {"type": "integer", "minimum": 0}
    index = {
        "key": {"type": "string"},
        "state": {"enum": list(State)},
        "size": integer,
        "final": {"type": "boolean"},
        "lines": integer,
        "indexed": integer,
        "places": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
            "description": "A line, the offset where it begins, when that arrived in seconds since 1970.",
        },
    }
    return _object(index)


def _object(properties: Node, *, required: Iterable[str] | None = None) -> Node:
    told: Node = {"type": "object", "properties": properties}
    names = list(properties if required is None else required)
    return {**told, "required": names} if names else told
