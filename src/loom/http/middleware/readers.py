"""Open responses to GET, and their end when the token that opened them ends or loses rights."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from loom.access.auth import Auth, Principal
from loom.errors import Unauthorized
from loom.http.exchange import Interrupt, interruptible

INTERVAL = 0.5
"""Seconds between two checks of the open responses. One task makes them all: a timer each would cost more."""


@dataclass(slots=True, eq=False)
class _Reader:
    authorization: bytes
    principal: Principal
    changes: int
    interrupt: Interrupt


class Readers:
    """The open responses to GET."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._open: set[_Reader] = set()
        self._checks: asyncio.Task[None] | None = None

    async def attend(
        self, authorization: bytes, principal: Principal, changes: int, response: Awaitable[None]
    ) -> None:
        """Send a response; cut it when `authorization` no longer gives the rights of `principal`.

        `changes` is that of the tokens, read before `principal` was determined.
        """
        async with interruptible() as interrupt:
            reader = _Reader(authorization, principal, changes, interrupt)
            self._open.add(reader)
            if self._checks is None or self._checks.done():
                self._checks = asyncio.create_task(self._check_all())
            try:
                await response
            finally:
                self._open.discard(reader)

    async def _check_all(self) -> None:
        """Check the open responses again and again, until there are none."""
        while self._open:
            await asyncio.sleep(INTERVAL)
            now, changes = self._auth.now(), self._auth.changes
            known: dict[bytes, Principal | Unauthorized] = {}
            for reader in list(self._open):
                expires = reader.principal.expires
                if reader.changes != changes or (expires is not None and expires <= now):
                    if reader.authorization not in known:
                        known[reader.authorization] = self._principal(reader.authorization)
                    _check(reader, known[reader.authorization], changes)

    def _principal(self, authorization: bytes) -> Principal | Unauthorized:
        try:
            return self._auth.principal(authorization)
        except Unauthorized as error:
            return error


def _check(reader: _Reader, found: Principal | Unauthorized, changes: int) -> None:
    before = reader.principal
    if isinstance(found, Unauthorized):
        reader.interrupt(found)
    elif (found.actions, found.ids) != (before.actions, before.ids):
        reader.interrupt(Unauthorized("The rights of this token have changed."))
    else:
        reader.principal, reader.changes = found, changes
