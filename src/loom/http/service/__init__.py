"""Requests for the server as a whole: lists, events, tokens, metrics, health, the interface itself."""
