"""The HTTP/1.1 server. It runs any ASGI app; Loom's app also runs under other servers.

The server owns its protocol, on the parser `httptools` alone. A general ASGI server does not offer, through
its public interface, what Loom promises: a disconnect that is reported while pipelined requests wait, a
response that is cut, a refusal that reaches a client which still sends, `sendfile`, an ordered stop. On top
of uvicorn all of this means to replace private methods and to pin a minor version. What uvicorn would still
provide is a scope, a Date header, flow control and a table of status lines: about 100 lines.

`connection` parses and queues requests, `cycle` is the app's side of one request, `channel` sends, `run`
starts and stops. `request` and `response` are the pure halves: bytes to a scope, and a head to bytes.
"""

from loom.http.server.limits import Limits
from loom.http.server.run import Server, serving

__all__ = ["Limits", "Server", "serving"]
