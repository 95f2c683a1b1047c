"""Durable Streams (protocol 1.0) under /v1/stream/{id}, on the same streams as /stream/{id}."""
