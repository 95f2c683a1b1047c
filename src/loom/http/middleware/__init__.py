"""ASGI middleware: what happens to each request before and after its handler."""
