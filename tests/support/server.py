"""The server as users run it: a separate process, observed only from outside."""

import asyncio
import ctypes
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

BIN = Path(sys.executable).parent
LOOM = (str(BIN / "loom"),)
TRACED = (sys.executable, str(Path(__file__).with_name("traced.py")))
MIB = 1 << 20
PATIENCE = 30.0
"""How long anything may take that usually takes no time, on a machine with other things to do."""


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Let the child end with its parent: a killed run of pytest leaves no server running. Runs in the
    child.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One `loom serve`, from its start to its end."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.url = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @classmethod
    async def start(
        cls, data: Path, log: Path, *, program: Sequence[str] = LOOM, **settings: object
    ) -> "Server":
        """Start on a free port; return once the server listens. Standard error is written to `log`."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        env = {name: value for name, value in os.environ.items() if not name.startswith("LOOM_")}
        with log.open("ab") as err:
            process = await asyncio.create_subprocess_exec(
                *(*program, "serve", "--port=0", f"--data={data}", *flags),
                stdin=PIPE,
                stdout=PIPE,
                stderr=err,
                env=env,
                preexec_fn=die_with_parent,
            )
        server = cls(process)
        try:
            server.url = await asyncio.wait_for(server._announced(), PATIENCE)
        except BaseException:
            await server.kill()
            raise
        return server

    async def _announced(self) -> str:
        assert self._process.stdout
        line = (await self._process.stdout.readline()).decode()
        url = re.match(r"Loom \S+ listens on (http://\S+)\n", line)
        if url is None:
            raise AssertionError(f"The server said {line!r} when it should have started; its log says why.")
        return url[1]

    async def kill(self) -> None:
        """Kill the server as `kill -9` does. Does nothing if it has ended."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def stop(self) -> int:
        """Send SIGTERM, wait for the end and return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait until the server ends without a signal; return the exit code."""
        await asyncio.wait_for(self._process.communicate(), PATIENCE)
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def descriptors(self) -> Counter[str]:
        """Return the open descriptors: their paths, or their kinds where they have no path."""
        folder, names = f"/proc/{self._process.pid}/fd", Counter[str]()
        for each in os.listdir(folder):
            with suppress(FileNotFoundError):  # closed meanwhile
                names[os.readlink(f"{folder}/{each}").partition(":")[0]] += 1
        return names

    @property
    def cpu(self) -> float:
        """Return the seconds of CPU that all threads of the server have used."""
        # The clock of another process, numbered as in clock_getcpuclockid(3).
        return time.clock_gettime(~self._process.pid << 3 | 2)

    @property
    def most_resident(self) -> int:
        """Return the peak of resident memory in bytes since the start or the last `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> int:
        """Measure `most_resident` from now on; return the current resident memory."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")  # proc(5)
        return self._status("VmRSS")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024  # type: ignore[index]

    async def traced(self) -> tuple[int, int, int]:
        """Return the bytes of its Python objects, the number of containers and the cost of tracing, if
        traced.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        line = b"announced"
        while line and not line[:1].isdigit():
            line = await self._process.stdout.readline()
        held, objects, cost = map(int, line.split())
        return held, objects, cost


async def until(what: str, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Poll until a condition holds that has no event, such as numbers in /proc."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


def tell(text: str) -> None:
    """Print numbers, which pytest -s shows."""
    sys.stdout.write(f"\n{text}\n")
