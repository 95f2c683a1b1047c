"""The client library: how a program talks to a Loom server. Public; knows nothing of the server's code.

    from loom.client import AsyncClient, Client

Each name is loaded when it is first used: `--help` of a command stays fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom.client.address import UnencryptedToken
    from loom.client.blocking import Client
    from loom.client.client import AsyncClient
    from loom.client.errors import ClientError
    from loom.client.logs import StreamHandler
    from loom.client.session import Timeouts
    from loom.wire.matches import FoundLine, SearchEnd

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "FoundLine",
    "SearchEnd",
    "StreamHandler",
    "Timeouts",
    "UnencryptedToken",
]

_HOMES = {
    "AsyncClient": "loom.client.client",
    "Client": "loom.client.blocking",
    "ClientError": "loom.client.errors",
    "FoundLine": "loom.wire.matches",
    "SearchEnd": "loom.wire.matches",
    "StreamHandler": "loom.client.logs",
    "Timeouts": "loom.client.session",
    "UnencryptedToken": "loom.client.address",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
