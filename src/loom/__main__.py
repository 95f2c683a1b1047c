"""`python -m loom` is the program `loom`."""

from loom.cli.main import main

main()
