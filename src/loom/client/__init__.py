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

__all__ = ["AsyncClient", "Client", "ClientError", "StreamHandler", "Timeouts", "UnencryptedToken"]

_HOMES = {
    "AsyncClient": "client",
    "Client": "blocking",
    "ClientError": "errors",
    "StreamHandler": "logs",
    "Timeouts": "session",
    "UnencryptedToken": "address",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
