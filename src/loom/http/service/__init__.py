"""The handlers of paths that concern all streams or the server: lists, events, tokens, metrics, health."""
