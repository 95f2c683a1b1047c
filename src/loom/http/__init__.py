"""Loom over HTTP: an ASGI app that any server can run, and Loom's own server."""
