"""Loom over HTTP: the app (any ASGI server can run it) and Loom's own server."""
