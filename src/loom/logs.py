"""Log lines: on standard error, for people if it is a terminal, else one JSON object a line.

Owns the configuration of structlog and of the standard library's logging, whose records become such lines.
A line never holds a token: known tokens, and signed ones, are masked wherever they would appear.
"""

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import IO, Any

import structlog
from structlog import dev
from structlog.typing import EventDict, Processor

AUDIT = "loom.audit"
"""The field `logger` of the lines that say who did what to tokens and streams, and who was refused."""

MASK = "[token]"
SIGNED = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
"""A JWT: Base64 of what begins with `{"`, twice, and of a signature."""
MAX_PATH = 1024
"""Characters of a path that are logged."""


def configure(level: str, format: str, secrets: Iterable[str] = (), stream: IO[str] | None = None) -> None:
    """Log from `level` up in `format` (auto, human, json), with `secrets` masked. May be called again."""
    out = stream or sys.stderr
    human = format == "human" or (format == "auto" and out.isatty())
    as_json = structlog.processors.JSONRenderer(default=str)
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            mask(secrets),
            _cut_path,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
            *([_human(colors=out.isatty())] if human else [_head_first, as_json]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=least, handlers=[_Bridge()], force=True)


_audit = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET))


def audit(event: str, **fields: object) -> None:
    """Log an event of the audit channel, whatever the log level. Its name and fields are documented."""
    _audit.info(event, logger=AUDIT, **fields)


def _head_first(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    return {key: event.pop(key) for key in ("timestamp", "level", "event")} | dict(event)


def _human(*, colors: bool) -> Processor:
    """Render local time, level, event, the fields as key=value, and an exception on the lines after."""
    style = dev.ConsoleRenderer.get_default_column_styles(colors)
    levels = dev.ConsoleRenderer.get_default_level_styles(colors)
    columns = [
        dev.Column("timestamp", dev.KeyValueColumnFormatter(None, style.timestamp, style.reset, str)),
        dev.Column("level", dev.LogLevelColumnFormatter(levels, style.reset)),
        dev.Column("event", dev.KeyValueColumnFormatter(None, style.bright, style.reset, printable)),
        dev.Column("status", _status(style, colors=colors)),
        dev.Column("", dev.KeyValueColumnFormatter(style.kv_key, style.kv_value, style.reset, printable)),
    ]
    return dev.ConsoleRenderer(columns=columns, sort_keys=False, exception_formatter=dev.plain_traceback)


def _status(style: dev.ColumnStyles, *, colors: bool) -> dev.ColumnFormatter:
    """Return a formatter of the status of a response: errors are coloured."""

    def render(key: str, value: object) -> str:
        code = value if isinstance(value, int) and colors else 0
        color = dev.RED if code >= 500 else dev.YELLOW if code >= 400 else style.kv_value
        return dev.KeyValueColumnFormatter(style.kv_key, color, style.reset, printable)(key, value)

    return render


def printable(value: object) -> str:
    """Return `value` as one line, with the control characters of a terminal escaped."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


def mask(secrets: Iterable[str]) -> Processor:
    """Return a processor that masks `secrets` and signed tokens in every value of a line, at any depth."""
    known = sorted(filter(None, secrets), key=len, reverse=True)

    def clean(value: Any) -> Any:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "backslashreplace")
        if isinstance(value, str):
            for secret in known:
                value = value.replace(secret, MASK)
            return mask_signed(value)
        if isinstance(value, Mapping):
            return {key: clean(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(each) for each in value]
        return value if isinstance(value, int | float | None) else clean(str(value))

    def process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        return {key: clean(value) for key, value in event.items()}

    return process


def mask_signed(text: str) -> str:
    """Return `text` with signed tokens masked."""
    return SIGNED.sub(MASK, text) if "eyJ" in text else text


def _cut_path(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Cut a path after it was masked: a part of a token would not be found."""
    path = event.get("path")
    if isinstance(path, str) and len(path) > MAX_PATH:
        event["path"] = path[:MAX_PATH] + "..."
    return event


class _Lines:
    """The output of structlog, with one write for each line. Ignores errors after the reader has closed
    it.
    """

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
    """Passes the records of other libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        structlog.get_logger().log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)
