"""Errors as responses."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from loom.errors import LoomError
from loom.http.exchange import Disconnected, respond
from loom.http.headers import SANDBOX
from loom.http.problem import problem_of
from loom.http.record import CLIENT_LEFT, RECORD, Record


class Errors:
    """Middleware: answer an error with a problem, or re-raise it if a response has begun, which cuts the
    response.

    A client sees no more than the sentence of a LoomError. Any other error is a bug of Loom: it is logged
    with its traceback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
            return
        except Disconnected:
            scope[RECORD].cut = CLIENT_LEFT
            return
        except LoomError as error:
            failure = error
        except Exception:
            structlog.get_logger("loom").exception("a request failed", path=scope["path"])
            failure = LoomError("The server failed to answer this request; its log says why.")
        record: Record = scope[RECORD]
        if record.status is not None:
            record.cut = failure.code
            raise failure
        record.code = failure.code
        await respond(scope, send, *problem_of(failure, headers=[SANDBOX], took_over=record.took_over))
