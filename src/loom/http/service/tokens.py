"""POST /tokens: sign a token that allows no more than that of the request. DELETE /tokens/{jti}: revoke."""

import json
from typing import Any

from loom.access.auth import Action, Auth, Principal
from loom.access.ids import Ids
from loom.errors import BadRequest
from loom.http.exchange import Exchange
from loom.http.headers import NO_STORE
from loom.ids import check_id
from loom.wire.times import rfc3339

MAX_BODY = 4096
MAX_SECONDS = 366 * 86400
MEMBERS = {"scopes", "id", "prefix", "expires_in", "name"}


class Tokens:
    """The handlers of /tokens and /tokens/{jti}."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def sign(self, exchange: Exchange) -> None:
        """POST /tokens: sign a token.

        The body is a JSON object of `scopes`, `id` or `prefix`, `expires_in` in seconds, and `name`.
        """
        wanted = self._wanted(parse_object(await exchange.body(MAX_BODY)))
        token, holder = self._auth.sign(exchange.principal, wanted)
        signed = {"token": token, "jti": holder.signed[-1], "expires": rfc3339(holder.expires or 0)}
        exchange.audit(
            "token.signed",
            jti=signed["jti"],
            scopes=sorted(wanted.actions),
            streams=wanted.ids.exact if wanted.ids.prefix is None else wanted.ids.prefix,
            expires=signed["expires"],
            name=holder.name,
        )
        await exchange.respond_json(json.dumps(signed), status=201)

    async def revoke(self, exchange: Exchange) -> None:
        """DELETE /tokens/{jti}: end a signed token and those signed with it; answer once that is durable."""
        await self._auth.revoke(exchange.principal, exchange.path_params["jti"])
        exchange.audit("token.revoked", jti=exchange.path_params["jti"])
        await exchange.respond(204, [NO_STORE])

    def _wanted(self, given: dict[str, Any]) -> Principal:
        if unknown := given.keys() - MEMBERS:
            raise BadRequest(
                f"{sorted(unknown)[0][:80]} is not a member of this object; {', '.join(sorted(MEMBERS))} are."
            )
        scopes, seconds = given.get("scopes"), given.get("expires_in")
        id, prefix, name = given.get("id"), given.get("prefix"), given.get("name", "")
        if not isinstance(scopes, list) or not scopes or not all(each in list(Action) for each in scopes):
            raise BadRequest(f"scopes must be a list of some of {', '.join(Action)}.")
        if (
            not isinstance(seconds, int | float)
            or isinstance(seconds, bool)
            or not 1 <= seconds <= MAX_SECONDS
        ):
            raise BadRequest(f"expires_in must be a number of seconds from 1 to {MAX_SECONDS}.")
        if (id is None) == (prefix is None) or not isinstance(prefix if id is None else id, str):
            raise BadRequest("Name the streams: send either id, or prefix, which is empty for all streams.")
        if not isinstance(name, str) or len(name) > 100:
            raise BadRequest("name must be a text of at most 100 characters.")
        if any("\ud800" <= char <= "\udfff" for char in name + (prefix or "")):
            raise BadRequest("The text has half of a surrogate pair, which is not a character.")
        return Principal(
            name=name,
            actions=frozenset(map(Action, scopes)),
            ids=Ids.of_prefix(prefix or "") if id is None else Ids(check_id(id)),
            expires=self._auth.now() + seconds,
        )


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body. Raises BadRequest."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadRequest("The body is not a JSON object.")
    return given
