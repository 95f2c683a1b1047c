"""POST /tokens: a signed token that allows no more than the one that asks for it."""

import json
from typing import Any

from loom.access.auth import Action, Auth, Principal
from loom.errors import BadRequest
from loom.http.exchange import Exchange
from loom.http.headers import NO_STORE, NOSNIFF
from loom.model import check_id
from loom.wire.times import rfc3339

MAX_BODY = 4096
MAX_SECONDS = 366 * 86400
MEMBERS = {"scopes", "id", "prefix", "expires_in", "name"}


class Tokens:
    """The handler of /tokens."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def sign(self, exchange: Exchange) -> None:
        """POST /tokens with a JSON object: `scopes`, `id` or `prefix`, `expires_in` in seconds, `name`."""
        wanted = self._wanted(parse_object(await exchange.body(MAX_BODY)))
        token, expires = self._auth.sign(exchange.principal, wanted)
        body = json.dumps({"token": token, "expires": rfc3339(expires)}).encode() + b"\n"
        length = (b"content-length", b"%d" % len(body))
        await exchange.respond(201, [(b"content-type", b"application/json"), length, NO_STORE, NOSNIFF], body)

    def _wanted(self, given: dict[str, Any]) -> Principal:
        if unknown := given.keys() - MEMBERS:
            raise BadRequest(
                f"{sorted(unknown)[0][:80]} is not known here; {', '.join(sorted(MEMBERS))} are."
            )
        scopes, seconds = given.get("scopes"), given.get("expires_in")
        id, prefix, name = given.get("id"), given.get("prefix"), given.get("name", "")
        if not isinstance(scopes, list) or not scopes or not all(each in list(Action) for each in scopes):
            raise BadRequest(f"scopes is a list of some of {', '.join(Action)}.")
        if (
            not isinstance(seconds, int | float)
            or isinstance(seconds, bool)
            or not 1 <= seconds <= MAX_SECONDS
        ):
            raise BadRequest(f"expires_in is a number of seconds from 1 to {MAX_SECONDS}.")
        if (id is None) == (prefix is None) or not isinstance(prefix if id is None else id, str):
            raise BadRequest(
                "Say for which streams: either id, or prefix, which may be empty for all of them."
            )
        if not isinstance(name, str) or len(name) > 100:
            raise BadRequest("name is a text of 100 characters at most.")
        return Principal(
            name=name,
            actions=frozenset(map(Action, scopes)),
            prefix=prefix or "",
            id=None if id is None else check_id(id),
            expires=self._auth.now() + seconds,
        )


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that is the body. Raises BadRequest."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadRequest("The body is not a JSON object.")
    return given
