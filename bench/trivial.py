"""What `producers` compares with: the least ASGI app that answers a POST as Loom does and keeps nothing."""

import os
import socket
import sys

import uvicorn
from starlette.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """201 at once, the end when the body has ended."""
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    # Stock, with its access log, which nobody reads; as nobody reads Loom's.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    config = uvicorn.Config(app, http="httptools", loop="uvloop", lifespan="off")
    uvicorn.Server(config).run([listener])
