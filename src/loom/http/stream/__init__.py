"""Requests for one stream: /stream/{id}."""
