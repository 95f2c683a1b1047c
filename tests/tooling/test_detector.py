import asyncio
import os
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from blockbuster import BlockingError

import loom


def _as_loom_code(source: str) -> Callable[..., object]:
    """Compile a function as if it stood in a module of the package."""
    code = compile(source, str(Path(loom.__file__).parent / "example.py"), "exec")
    module = types.ModuleType("loom.example")
    exec(code, module.__dict__)
    run: Callable[..., object] = module.__dict__["run"]
    return run


async def test_async_tests_run_on_uvloop():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


@pytest.mark.parametrize(
    "call", ["os.fdatasync(fd)", "os.write(fd, b'x')", "os.pread(fd, 1, 0)", "time.sleep(0)"]
)
async def test_blocking_call_of_loom_on_the_loop_fails(tmp_path, call):
    run = _as_loom_code(f"import os, time\ndef run(fd):\n    {call}")
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(BlockingError):
            run(fd)
        await asyncio.to_thread(run, fd)
    finally:
        os.close(fd)


async def test_read_that_does_not_wait_is_allowed_on_the_loop(tmp_path):
    run = _as_loom_code("import os\ndef run(fd, flags):\n    os.preadv(fd, [bytearray(1)], 0, flags)")
    (tmp_path / "file").write_bytes(b"x")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        run(fd, os.RWF_NOWAIT)
        with pytest.raises(BlockingError):
            run(fd, 0)
    finally:
        os.close(fd)
