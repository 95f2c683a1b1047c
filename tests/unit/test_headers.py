import pytest

from loom.errors import BadRequest, UnsupportedEncoding
from loom.http.stream.conditions import Validators, validators_of
from loom.http.stream.request_headers import (
    MAX_CONTENT_TYPE,
    answers_early,
    check_encoding,
    content_type_of,
)
from loom.http.stream.response_headers import created_headers, stream_headers
from loom.model import DEFAULT_CONTENT_TYPE, Info, State
from loom.streams.ranges import Part


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b'text/plain; charset="utf-8"',
        b"application/x-thing",
        b"odd",
        b"text/caf\xe9",
        b"a" * 255,
    ],
)
def test_content_type_is_kept_as_it_is(value):
    assert content_type_of([value]).encode("latin-1") == value


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b" "],
        [b"application/x-www-form-urlencoded"],
        [b"Application/X-WWW-Form-Urlencoded ; charset=UTF-8"],
    ],
)
def test_no_type_and_a_forms_type_are_bytes(values):
    assert content_type_of(values) == DEFAULT_CONTENT_TYPE


@pytest.mark.parametrize(
    "values",
    [
        [b"a\x00b"],
        [b"a\nb"],
        [b"a\rb"],
        [b"a\x7fb"],
        [b"a\x1bb"],
        [b"a" * (MAX_CONTENT_TYPE + 1)],
        [b"a/b", b"a/b"],
    ],
)
def test_a_type_no_header_can_carry_is_refused(values):
    with pytest.raises(BadRequest):
        content_type_of(values)


@pytest.mark.parametrize("values", [[], [b""], [b"identity"], [b" Identity , identity"]])
def test_bytes_as_they_are_have_no_encoding(values):
    check_encoding(values)


@pytest.mark.parametrize("values", [[b"gzip"], [b"identity", b"br"], [b"identity, zstd"], [b"aws-chunked"]])
def test_a_content_encoding_is_refused(values):
    with pytest.raises(UnsupportedEncoding):
        check_encoding(values)


@pytest.mark.parametrize(
    ("policy", "version", "header", "early"),
    [
        ("direct", "1.1", b"user-agent", True),
        ("direct", "2", b"user-agent", True),
        ("direct", "1.0", b"user-agent", False),
        *(
            ("direct", "1.1", name, False)
            for name in (b"via", b"forwarded", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-anything")
        ),
        ("direct", "1.1", b"upload-complete", False),
        ("always", "1.0", b"via", True),
        ("always", "1.1", b"upload-complete", False),
        ("never", "1.1", b"user-agent", False),
    ],
)
def test_a_direct_connection_alone_is_answered_early(policy, version, header, early):
    assert answers_early(policy, version, [(b"host", b"x"), (header, b"value")]) is early


def test_a_creation_returns_id_and_location_percent_encoded():
    info = Info(key="k", id="team/ü b;*", epoch=1, state=State.LIVE)
    headers = dict(created_headers(info, replaced=False))
    assert headers[b"etag"] == b'"k"'
    assert headers[b"x-stream-id"] == b"team/%C3%BC%20b;*"
    assert headers[b"location"] == b"/stream/team/%C3%BC%20b;*"
    assert b"content-length" not in headers
    assert b"x-stream-replaced" not in headers
    assert dict(created_headers(info, replaced=True))[b"x-stream-replaced"] == b"true"


@pytest.mark.parametrize("state", State)
def test_only_final_streams_may_be_cached(state):
    info = Info(key="k", id="a", epoch=1, state=state, size=3)
    headers = dict(stream_headers(info, Part(0, 3), validators_of(info)))
    cached = (
        (b"private, no-cache, no-transform", b'"k"') if state.final else (b"no-store, no-transform", None)
    )
    assert (headers[b"cache-control"], headers.get(b"etag")) == cached


def test_a_response_without_known_end_disables_buffering_in_proxies():
    info = Info(key="k", id="a", epoch=1, state=State.LIVE, size=3)
    live, now = (dict(stream_headers(info, Part(0, stop), Validators())) for stop in (None, 3))
    assert (live.get(b"x-accel-buffering"), live.get(b"content-length")) == (b"no", None)
    assert (now.get(b"x-accel-buffering"), now.get(b"content-length")) == (None, b"3")
