"""The program `loom` with its memory traced: a line on standard input is answered with a line of numbers, the
bytes its Python objects hold, how many containers there are, and the bytes that tracing costs.
"""

import gc
import sys
import threading
import tracemalloc

from loom.cli.main import main


def answer() -> None:
    for _ in sys.stdin:
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        objects = len(gc.get_objects()) + gc.get_freeze_count()
        sys.stdout.write(f"{held} {objects} {tracemalloc.get_tracemalloc_memory()}\n")
        sys.stdout.flush()


tracemalloc.start()
threading.Thread(target=answer, daemon=True).start()
main()
