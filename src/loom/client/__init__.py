"""The other end of the wire: how a program talks to a Loom server. Knows nothing of the server's code."""
