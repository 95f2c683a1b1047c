"""A process that searches, one step after the other. Its standard input is a socket of the server.

It ends with the server: once the other end of the socket is closed, even by `kill -9`. A step ends early
after STEP_SECONDS, so that one worker serves many searches in turn.
"""

import os
import pickle
import resource
import socket
import time

from loom.patterns import InvalidPattern
from loom.streams.grep.scanner import Scanner, State
from loom.streams.grep.steps import HEAD, Result, Step, length, split

NICENESS = 10
MEMORY = 1 << 30
"""Bytes of address space: the last bound, should all others fail."""
BLOCK = 256 << 10
"""Bytes read at once: they stay in the cache of the processor while they are searched."""
STEP_SECONDS = 0.05


def main() -> None:
    """Serve steps until the server closes its end."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=0) as peer:
        try:
            while serve(peer):
                pass
        except ConnectionError:
            pass


def serve(peer: socket.socket) -> bool:
    """Do one step. Returns False at the end of the connection."""
    head, descriptors, _, _ = socket.recv_fds(peer, HEAD.size, 1)
    if not head:
        return False
    try:
        head += _receive(peer, HEAD.size - len(head))
        step = Step.decode(split(head, _receive(peer, length(head))))
        result = search(step, descriptors[0] if descriptors else None)
    finally:
        for each in descriptors:
            os.close(each)
    peer.sendall(result.encode())
    return True


def search(step: Step, descriptor: int | None) -> Result:
    """Do one step, and return its result."""
    origin = step.origin
    began = time.monotonic()
    try:
        # The state comes from a worker, through the server, which only keeps it.
        state = (
            pickle.loads(step.state)  # noqa: S301
            if step.state
            else State(offset=origin.offset, line=origin.line, start=origin.start, skip=origin.skip)
        )
        scanner = Scanner(step.query, state, step.times)
    except InvalidPattern as error:
        return Result(invalid=str(error))
    consumed, short = 0, False
    ready = scanner.feed(step.data, last=step.last)
    if descriptor is None:
        consumed = len(step.data)
    else:
        while ready and not scanner.full and not scanner.done and consumed < step.size:
            if time.monotonic() - began > STEP_SECONDS:
                break
            block = os.pread(descriptor, min(BLOCK, step.size - consumed), step.offset + consumed)
            if not block:
                short = True
                break
            ready = scanner.feed(block)
            consumed += len(block)
    return Result(
        state=pickle.dumps(state),
        output=bytes(scanner.output),
        consumed=consumed,
        paused=not ready,
        done=scanner.done,
        matches=state.matches,
        next=scanner.next,
        seconds=time.monotonic() - began,
        short=short,
    )


def _receive(peer: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = peer.recv_into(view)
        if not count:
            raise ConnectionResetError
        view = view[count:]
    return bytes(data)


if __name__ == "__main__":
    main()
