"""The client without asyncio and the logging handler, with a server in a process of its own."""

import inspect
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from typing import get_args, get_origin

import pytest
from tests.support.program import BIN, environment

from loom.client import AsyncClient, Client, StreamHandler
from loom.client.blocking import Following, Items
from loom.client.errors import Conflict, InvalidRequest, NotFound
from loom.client.reading import Reading


@pytest.fixture
def url(tmp_path):
    command = [str(BIN / "loom"), "serve", "--port=0", "--store=memory", f"--data={tmp_path}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True
    ) as server:
        assert server.stdout
        yield server.stdout.readline().partition(" on ")[2].split()[0]
        server.terminate()
        server.wait()


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


def test_pushed_bytes_are_read(client: Client, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"from a file")
    assert client.push("a", b"bytes\nlast", metadata={"n": 1}) == 10
    with file.open("rb") as source:
        client.push("b", source)
    client.push("c", (bytes([each]) for each in b"xyz"))
    with subprocess.Popen(["printf", "printed"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        client.push("d", process.stdout)
    assert [client.read(id) for id in "abcd"] == [b"bytes\nlast", b"from a file", b"xyz", b"printed"]
    assert list(client.follow("a", offset=2).lines()) == [b"tes\n", b"last"]
    following = client.follow("a", verify=True)
    assert b"".join(following) == b"bytes\nlast"
    assert following.reading.verified
    assert (client.info("a").metadata, client.info("a").state) == ({"n": 1}, "complete")
    assert [info.id for info in client.streams()] == ["d", "c", "b", "a"]
    with pytest.raises(Conflict):
        client.push("a", b"")
    client.delete("a")
    assert client.delete_all("", confirm=client.count("")) == 3
    with pytest.raises(NotFound):
        client.info("a")


def public(kind):
    return {name: value for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}


def test_methods_have_the_arguments_types_and_documentation_of_the_async_client():
    assert public(Client).keys() - {"run"} == public(AsyncClient).keys()
    for name, method in (public(AsyncClient) | {"__init__": AsyncClient.__init__}).items():
        ours = getattr(Client, name)
        expected, given = inspect.signature(method), inspect.signature(ours)
        assert given.parameters == expected.parameters, name
        assert ours.__doc__ == method.__doc__ or name == "close"
        result = expected.return_annotation
        if get_origin(result) is AsyncGenerator:
            assert get_origin(given.return_annotation) is Items, name
            assert get_args(given.return_annotation) == get_args(result)[:1], name
        else:
            assert given.return_annotation == (Following if result is Reading else result), name


def test_a_program_may_exit_without_closing_the_client_and_a_child_needs_its_own(url):
    program = """
import os, sys
from loom.client import Client
from loom.client.errors import InvalidRequest
client = Client(sys.argv[1])
client.push("a", b"text")
if not (child := os.fork()):
    try:
        client.read("a")
    except InvalidRequest as error:
        client.close()
        os._exit(7 if "fork" in str(error) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert client.read("a") == b"text"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, url], check=True, timeout=30)


def test_every_thread_may_use_the_client_and_close_cancels_all_calls(url):
    client = Client(url)
    client.push("a", b"text")
    read, ended = [], []

    def work():
        read.append(client.read("a"))
        try:
            for change in client.events():
                ended.append(change.kind)
                joined.release()
        except BaseException as error:
            ended.append(type(error).__name__)

    joined = threading.Semaphore(0)
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert joined.acquire(timeout=10)
    client.close()
    client.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert read == [b"text"] * 5
    assert sorted(ended) == ["CancelledError"] * 5 + ["reset"] * 5
    with pytest.raises(InvalidRequest, match="closed"):
        client.read("a")


def logger_of(handler):
    logger = logging.Logger("test")  # noqa: LOG001 - of this test alone
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger


def test_log_records_become_a_stream(url, client: Client):
    handler = StreamHandler(AsyncClient(url), "log", metadata={"host": "a"})
    logger = logger_of(handler)
    for number in range(2000):
        logger.info("record %d", number)
    handler.close()
    handler.close()
    logger.info("too late")
    assert client.read("log").decode().splitlines() == [f"INFO record {number}" for number in range(2000)]
    info = client.info("log")
    assert (info.state, info.metadata, info.content_type) == ("complete", {"host": "a"}, "text/plain")
    assert handler.dropped == 1


def test_logging_never_waits_and_the_stream_reports_dropped_records(url, client: Client):
    handler = StreamHandler(AsyncClient(url), "log", max_bytes=20)
    logger = logger_of(handler)
    with handler._changing:  # the push takes nothing from the queue meanwhile
        for _ in range(5):
            logger.info("0123456789")
    handler.close()
    assert handler.dropped == 4
    assert client.read("log") == b"INFO 0123456789\n4 log records were dropped here\n"


def test_unreachable_server_does_not_delay_the_end_of_the_program(capsys):
    handler = StreamHandler(AsyncClient("http://127.0.0.1:1"), "log", patience=0.1)
    logger_of(handler).info("lost")
    handler.close()
    assert not handler._thread.is_alive()


def test_records_left_are_sent_at_the_end_of_a_program(url, client: Client):
    program = (
        "import logging, sys; from loom.client import AsyncClient, StreamHandler;"
        "logging.basicConfig(handlers=[StreamHandler(AsyncClient(sys.argv[1]), 'log')]);"
        "import os; os.fork() or logging.warning('of a child'); os.getppid();"
        "logging.warning('the last words')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, url], capture_output=True, env=os.environ, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert client.read("log") == b"WARNING:root:the last words\n"
