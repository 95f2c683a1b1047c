"""The baseline of `producers`: the smallest ASGI app that answers a POST like Loom, and stores nothing."""

import os
import socket
import sys

import uvicorn
from starlette.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with 201 immediately, and end the response with the body of the request."""
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
    # Defaults, access log included; its output is discarded, like Loom's.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    config = uvicorn.Config(app, http="httptools", loop="uvloop", lifespan="off")
    uvicorn.Server(config).run([listener])
