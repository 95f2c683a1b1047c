"""The use cases over streams: produce, read, follow, spy. Private: its interface may change at any time."""
