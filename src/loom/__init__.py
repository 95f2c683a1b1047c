"""Loom stores live byte streams over HTTP.

Importing this package imports nothing else: the version below is a literal, so
`loom --version` and the build read it without loading the stack.
"""

__version__ = "0.1.0"
