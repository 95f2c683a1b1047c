"""The handlers of one stream: /stream/{id}."""
