"""The systemd units: valid and hardened; and how the server uses the socket that systemd passes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.program import BIN, environment

ROOT = Path(__file__).parents[2]
EXPOSURE = 20
"""Of 100, by systemd's own reckoning: a unit without hardening has 96."""

# As systemd does it: the socket becomes descriptor 3, the process id is known only after the fork.
ACTIVATED = """
import os, socket, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Return the units with the path of the program in this checkout."""
    for unit in (ROOT / "deploy").glob("loom.s*"):
        text = unit.read_text().replace("/opt/loom/bin/loom", str(BIN / "loom"))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_units_are_valid(units: Path, tool):
    command = [tool("systemd-analyze"), "verify", "--man=no", units / "loom.service", units / "loom.socket"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "loom" in line]) == (0, [])


def test_service_is_hardened(units: Path, tool):
    command = [tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={EXPOSURE}"]
    done = subprocess.run([*command, units / "loom.service"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_server_uses_the_passed_socket_and_notifies_ready_and_stopping(tmp_path: Path):
    said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    said.settimeout(20)
    with said, socket.create_server(("127.0.0.1", 0)) as listening:
        said.bind(str(tmp_path / "notify"))
        port = listening.getsockname()[1]
        env = {**environment(), "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [str(listening.fileno()), str(BIN / "loom"), "serve", "--store", "memory"]
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, *command],
            env=env,
            pass_fds=[listening.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:  # before it is ready
                client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert said.recv(100) == b"READY=1"
                assert client.recv(12) == b"HTTP/1.1 200"
            process.terminate()
            assert said.recv(100) == b"STOPPING=1"
            out, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
        assert f"http://127.0.0.1:{port}\n".encode() in out
        assert process.returncode == 0


def test_anything_but_a_listening_socket_is_refused_in_a_sentence(tmp_path: Path):
    with (tmp_path / "file").open("wb") as file:
        command = [str(file.fileno()), str(BIN / "loom"), "serve", "--store", "memory"]
        done = subprocess.run(
            [sys.executable, "-c", ACTIVATED, *command],
            env={**environment(), "LISTEN_FDS": "1"},
            pass_fds=[file.fileno()],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert "systemd" in done.stderr.splitlines()[-1]


def test_a_socket_passed_to_another_process_is_left_alone(monkeypatch):
    from loom.cli.systemd import inherited

    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}
    assert inherited(environ) is None
    assert environ == {}
