"""Where log lines go and what they look like: standard error, for people on a terminal, else as JSON lines.

Owns the set-up of structlog and of the standard library's logging, which is led into the same lines. A line
never holds a token: those known are masked wherever they would appear.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor

COLORS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
"""ANSI colours of the levels on a terminal."""

MASK = "[token]"


def configure(level: str, format: str, secrets: Iterable[str] = (), stream: IO[str] | None = None) -> None:
    """Log from `level` up in `format` (auto, human, json); `secrets` are masked. May be called again."""
    out = stream or sys.stderr
    human = format == "human" or (format == "auto" and out.isatty())
    render: Processor = (
        human_line(color=out.isatty()) if human else structlog.processors.JSONRenderer(default=str)
    )
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            mask(secrets),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _head_first,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=least, handlers=[_Bridge()], force=True)


def _head_first(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    return {key: event.pop(key) for key in ("timestamp", "level", "event")} | dict(event)


def mask(secrets: Iterable[str]) -> Processor:
    """A processor that hides `secrets` in every value of a line, however deep."""
    known = sorted(filter(None, secrets), key=len, reverse=True)

    def clean(value: Any) -> Any:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "backslashreplace")
        if isinstance(value, str):
            for secret in known:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, Mapping):
            return {key: clean(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(each) for each in value]
        return value if isinstance(value, int | float | None) else clean(str(value))

    def process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        return {key: clean(value) for key, value in event.items()}

    return process if known else lambda _logger, _method, event: event


def human_line(*, color: bool) -> Callable[[Any, str, MutableMapping[str, Any]], str]:
    """A renderer: local time, level, event, then the fields as key=value, an exception below."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color else text

    def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        time = datetime.fromisoformat(event.pop("timestamp")).astimezone().strftime("%H:%M:%S")
        level = event.pop("level")
        head = [paint(time, "2"), paint(f"{level:<7}", COLORS.get(level, "0")), printable(event.pop("event"))]
        exception = event.pop("exception", "")
        fields = [f"{paint(key, '36')}={printable(value)}" for key, value in event.items()]
        return " ".join(head + fields) + (f"\n{exception}" if exception else "")

    return render


def printable(value: object) -> str:
    """`value` on one line, with nothing in it that a terminal would obey."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


class _Lines:
    """What structlog writes to: one write a line; a reader of the log that went away stops nobody's work."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = log = msg


class _Bridge(logging.Handler):
    """Leads the records of other libraries into structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        structlog.get_logger().log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)
