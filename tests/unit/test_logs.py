import io
import json
import logging

import pytest
import structlog

from loom import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def configured():
    """Configure logging into a stream and return the stream; undone after the test."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]

    def configure(level="info", format="json", secrets=(), out=None):
        out = io.StringIO() if out is None else out
        logs.configure(level, format, secrets, out)
        return out

    yield configure
    structlog.reset_defaults()
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_json_is_one_object_a_line(configured):
    out = configured()
    structlog.get_logger("loom").info("request", path="/a\nb", status=200)
    line, rest = out.getvalue().split("\n")
    document = json.loads(line)
    assert rest == ""
    assert list(document)[:3] == ["timestamp", "level", "event"]
    assert (document["level"], document["event"], document["path"]) == ("info", "request", "/a\nb")


@pytest.mark.parametrize(
    ("format", "stream", "human"),
    [
        ("auto", Terminal, True),
        ("auto", io.StringIO, False),
        ("human", io.StringIO, True),
        ("json", Terminal, False),
    ],
)
def test_lines_are_for_people_on_a_terminal(configured, format, stream, human):
    out = configured(format=format, out=stream())
    structlog.get_logger("loom").warning("listening", host="::")
    assert (not out.getvalue().startswith("{")) is human
    assert ("\x1b[" in out.getvalue()) is (human and stream is Terminal)


def test_human_line_cannot_forge_lines_or_colours(configured):
    out = configured(format="human")
    structlog.get_logger("loom").info("re\nquest", path="/\x1b[31m\n12:00:00 error forged")
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()


def test_errors_are_coloured_on_a_terminal_only(configured):
    for stream, colored in ((Terminal, True), (io.StringIO, False)):
        out = configured(format="human", out=stream())
        for status in (200, 404, 500):
            structlog.get_logger("loom").info("request", path="/a", status=status)
        plain, warned, failed = out.getvalue().splitlines()
        for line, code, color in ((warned, 404, "\x1b[33m"), (failed, 500, "\x1b[31m")):
            assert (f"{color}{code}" in line) is colored
            assert color not in plain


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_level_holds_for_our_lines_and_those_of_other_libraries(configured, level):
    out = configured(level=level)
    for each in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger("loom"), each)("ours")
        logging.getLogger("library").log(logging.getLevelNamesMapping()[each.upper()], "theirs")
    logged = [json.loads(line)["level"] for line in out.getvalue().splitlines()]
    expected = ["debug", "info", "warning", "error"][["debug", "info", "warning", "error"].index(level) :]
    assert logged == [each for each in expected for _ in range(2)]


def test_records_of_other_libraries_become_lines_with_their_exception(configured):
    out = configured()
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("asyncio").exception("broke %s", "here")
    document = json.loads(out.getvalue())
    assert (document["event"], document["logger"], document["level"]) == ("broke here", "asyncio", "error")
    assert "ValueError: why" in document["exception"]


@pytest.mark.parametrize("format", ["json", "human"])
def test_token_is_masked_wherever_it_appears(configured, format):
    out = configured(format=format, secrets=["s3cret", "s3cret-longer", "e", "20"])
    log = structlog.get_logger("loom")
    log.info(
        "with s3cret-longer",
        header=b"Bearer s3cret",
        headers=[(b"authorization", b"Bearer s3cret")],
        deep={"a": {"b": "s3cret"}},
        error=ValueError("s3cret"),
        status=200,
    )
    logging.getLogger("asyncio").warning("s3cret")
    try:
        raise ValueError("s3cret")
    except ValueError:
        log.exception("failed")
    assert "s3cr" not in out.getvalue()
    assert "status" in out.getvalue()


def test_a_closed_log_output_is_ignored(configured):
    configured(out=Gone())
    structlog.get_logger("loom").info("into the void")
