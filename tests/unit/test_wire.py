"""What one end writes, the other reads: headers of responses and appends, lines of progress, rows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.http.stream.request_headers import Upload
from loom.model import Info, State
from loom.wire.fields import digest_field, key_of, sha256_of, tag_of
from loom.wire.head import StreamHead
from loom.wire.rows import StreamInfo, encode_row
from loom.wire.upload import Progress, append_headers

DIGEST = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
COUNTS = st.one_of(st.none(), st.integers(0, 10**15 - 1))
HEADS = st.builds(
    StreamHead,
    id=st.one_of(st.none(), st.just("a/%C3%BC")),
    key=st.just("1-a"),
    state=st.one_of(st.none(), st.sampled_from(State)),
    metadata=st.one_of(st.none(), st.just('{"a": 1}')),
    start=COUNTS,
    size=COUNTS,
    complete=st.one_of(st.none(), st.booleans()),
    length=COUNTS,
    epoch=COUNTS,
    digest=st.one_of(st.none(), st.just(DIGEST)),
)


class Received:
    """The headers of a response or a request, by name in any case."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._values = {name.lower(): value for name, value in headers}

    def get(self, name: str, /) -> str | None:
        value = self._values.get(name.lower().encode())
        return None if value is None else value.decode()

    def all(self, name: bytes) -> list[bytes]:
        return [self._values[name]] if name in self._values else []


@given(HEADS)
def test_a_head_is_read_as_it_was_written(head):
    assert StreamHead.of(Received(head.headers)) == head


def test_an_entity_tag_stands_in_for_the_key():
    assert StreamHead.of(Received(StreamHead(tag="1-a").headers)) == StreamHead(key="1-a", tag="1-a")
    assert StreamHead.of(Received([])) == StreamHead()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"x-stream-state", b"asleep"),
        (b"x-stream-offset", b"-1"),
        (b"upload-offset", b"many"),
        (b"upload-offset", b"\xd9\xa3"),
        (b"upload-complete", b"yes"),
        (b"x-stream-epoch", b""),
    ],
)
def test_a_value_that_loom_never_sends_is_refused(header, value):
    with pytest.raises(ValueError):
        StreamHead.of(Received([(header, value)]))


@pytest.mark.parametrize("field", ["", "md5=:AAAA:", "sha-256=AAAA", "sha-256=:AAAA:", f"sha-256=:{DIGEST}"])
def test_a_field_without_a_sha_256_has_none(field):
    assert sha256_of(field) is None


def test_a_digest_is_found_among_others():
    assert sha256_of(f"md5=:AAAA:, {digest_field(DIGEST)}") == DIGEST


@pytest.mark.parametrize("tag", ["", '"', '""', "1-a", 'W/"1-a"'])
def test_a_tag_that_is_not_strong_stands_for_no_key(tag):
    assert key_of(tag) is None
    assert key_of(tag_of("1-a")) == "1-a"


@given(st.integers(0, 10**15 - 1), st.booleans(), COUNTS)
def test_an_append_is_read_as_it_was_written(offset, complete, epoch):
    headers = append_headers(offset, complete=complete, key="1-a", epoch=epoch)
    received = Received([(name.encode(), value.encode()) for name, value in headers.items()])
    upload = Upload.of(received)
    assert (upload.offset, upload.complete, upload.epoch) == (offset, complete, epoch)
    assert received.all(b"if-match") == [b'"1-a"']


@pytest.mark.parametrize(
    "progress", [Progress(0), Progress(3, State.OPEN), Progress(3, State.COMPLETE, DIGEST)]
)
def test_progress_is_read_as_it_was_written(progress):
    assert Progress.of(progress.encode()) == progress


@pytest.mark.parametrize(
    "line",
    [b"", b"no", b"[]", b"{}", b'{"offset": true}', b'{"offset": "1"}', b'{"offset": 1, "state": "x"}'],
)
def test_anything_but_a_line_of_progress_is_refused(line):
    with pytest.raises(ValueError):
        Progress.of(line)


@pytest.mark.parametrize("state", State)
def test_a_row_is_read_as_it_was_written(state):
    info = Info(
        key="1-a", id="ü", epoch=1, state=state, size=3, metadata='{"n": 1.50}', created=1.5, ended=2.0
    )
    row = encode_row(info)
    assert (row.isascii(), "\n" in row, '"metadata": {"n": 1.50}}' in row) == (True, False, True)
    read = StreamInfo.of(json.loads(row))
    assert (read.id, read.key, read.state, read.size, read.metadata) == ("ü", "1-a", state, 3, {"n": 1.5})
    assert (read.created.timestamp(), read.ended and read.ended.timestamp(), read.expires) == (1.5, 2.0, None)
