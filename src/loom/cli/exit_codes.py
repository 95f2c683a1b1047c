"""The exit codes of all commands. Owns what each number means; `loom help exit-codes` prints the table."""

from loom.errors import ConfigError, LoomError

OK, REFUSED, USAGE, CONFLICT, UNAUTHORIZED, LOST = 0, 1, 2, 3, 4, 5
INPUT, ABORTED, NOT_FOUND, OUTPUT = 6, 7, 8, 9
STORE_FAILED, SPOOLED, INTERRUPTED, BROKEN_PIPE = 70, 75, 130, 141

MEANINGS = {
    OK: "Success. After `push` and `stream`: the server confirmed that everything is stored.",
    REFUSED: "The server refused for a reason that has no code of its own. `grep`: no line matches. "
    "`doctor`, `verify`, `import`: a problem was found and is reported.",
    USAGE: "The arguments or settings are wrong. `serve`, `verify`, `import`: the data directory or the "
    "address cannot be used.",
    CONFLICT: "The stream exists already, was replaced, or has another producer.",
    UNAUTHORIZED: "The token is missing, unknown, or does not allow this.",
    LOST: "The server cannot be reached or is no Loom server, or the connection was lost and not restored.",
    INPUT: "The input could not be read to its end. What was read is stored; the stream is not complete.",
    ABORTED: "The stream was aborted: its producer never completed it.",
    NOT_FOUND: "The stream does not exist.",
    OUTPUT: "The output could not be written, or the bytes do not match the digest of the stream.",
    STORE_FAILED: "The store failed and stopped the server.",
    SPOOLED: "Not everything was sent. The rest is in the spool; `loom push --resume` sends it.",
    INTERRUPTED: "Interrupted with Ctrl-C. A stream that was being sent is not complete.",
    BROKEN_PIPE: "The reader of the output closed it.",
}

RUN = """`loom run` exits with the code of its command, whether or not the output could be stored: 126 if the
command cannot be executed, 127 if it does not exist, 128 + N if signal N ended it."""

BY_CODE = {
    "lost": LOST,
    "foreign": LOST,
    "aborted": ABORTED,
    "corrupted": OUTPUT,
    "fenced": CONFLICT,
    "input_failed": INPUT,
    "spooled": SPOOLED,
    "invalid_request": USAGE,
}
BY_STATUS = {
    400: USAGE,
    401: UNAUTHORIZED,
    403: UNAUTHORIZED,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
}


def of(error: LoomError) -> int:
    """Return the exit code that reports `error`."""
    if isinstance(error, ConfigError):
        return USAGE
    return BY_CODE.get(error.code) or BY_STATUS.get(getattr(error, "status", 0), REFUSED)
