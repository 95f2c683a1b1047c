"""The HTTP server: uvicorn with Loom's own protocol. Runs any ASGI app; Loom's app runs elsewhere too.

The package is the only importer of uvicorn. `protocol` reads and queues requests, `cycle` is the app's side
of one, `wire` sends, `run` starts and stops.
"""

from loom.http.server.config import Limits
from loom.http.server.run import Server, serve, serving

__all__ = ["Limits", "Server", "serve", "serving"]
