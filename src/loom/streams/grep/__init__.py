"""Search the lines of a stream for a pattern. Private, like the package around it."""
