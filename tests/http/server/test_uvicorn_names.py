"""The names of uvicorn and httptools the server is built on, none of them public.

A test that fails here says which part of the server to read again before a new version is allowed.
"""

import asyncio
import inspect
from importlib.metadata import version

import httptools
import pytest
import uvicorn
from tests.http.server.support import answering
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import ServerState

from loom.http.server.config import Config, Limits
from loom.http.server.protocol import Connection


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_version_is_the_one_that_was_read():
    assert version("uvicorn").startswith("0.54.")
    assert version("httptools").startswith("0.9.")


async def test_protocol_has_what_connection_takes_from_it():
    protocol = httptools_impl.HttpToolsProtocol
    assert parameters(protocol) == ["config", "server_state", "app_state", "_loop"]
    loop = asyncio.get_running_loop()
    config = Config(answering(200), Connection, Limits(), None)
    made = protocol(config, ServerState(), {}, loop)
    names = {"app", "loop", "parser", "server_state", "connections", "tasks", "flow", "transport", "client"}
    names |= {"scope", "headers", "expect_100_continue"}
    assert names <= set(vars(made))
    made.on_message_begin()
    assert (made.url, made.headers, made.expect_100_continue) == (b"", [], False)
    assert {"type", "asgi", "http_version", "server", "client", "scheme", "headers"} <= set(made.scope)
    assert made.scope["headers"] is made.headers
    made.on_header(b"Expect", b"100-Continue")
    assert made.expect_100_continue
    assert made.headers == [(b"expect", b"100-Continue")]


def test_every_method_that_connection_overrides_is_there_with_its_arguments():
    base = httptools_impl.HttpToolsProtocol
    ours = [name for name, value in vars(Connection).items() if inspect.isfunction(value) and name[0] != "_"]
    overridden = [name for name in ours if name != "check"]
    assert "on_headers_complete" in overridden
    for name in overridden:
        assert parameters(getattr(base, name)) == parameters(getattr(Connection, name)), name
    for name in ("on_url", "pause_writing", "resume_writing"):
        assert callable(getattr(base, name))


def test_flow_control_has_what_wire_takes_from_it():
    assert parameters(flow_control.FlowControl) == ["transport"]
    assert flow_control.HIGH_WATER_LIMIT == 65536
    for name in ("drain", "pause_reading", "resume_reading", "pause_writing", "resume_writing"):
        assert callable(getattr(flow_control.FlowControl, name))


def test_tables_of_the_answer_are_there():
    assert httptools_impl.STATUS_LINE[404] == b"HTTP/1.1 404 Not Found\r\n"
    assert httptools_impl.HEADER_RE.search(b"a\rb")
    assert httptools_impl.HEADER_VALUE_RE.search(b"a\nb")


def test_server_has_what_ours_takes_from_it():
    for name in ("_serve", "startup", "main_loop", "on_tick", "shutdown", "capture_signals", "serve"):
        assert callable(getattr(uvicorn.Server, name))
    state = uvicorn.Server(Config(answering(200), Connection, Limits(), None)).server_state
    assert (state.connections, state.tasks, state.default_headers, state.total_requests) == (
        set(),
        set(),
        [],
        0,
    )


def test_parser_tells_where_an_upgrade_begins_and_skips_the_body():
    class Events:
        def on_message_complete(self) -> None:
            done.append(True)

    done: list[bool] = []
    parser = httptools.HttpRequestParser(Events())
    head = b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as upgrade:
        parser.feed_data(head + b"abc")
    assert upgrade.value.args[0] == len(head)
    assert done == [True]
    assert (parser.should_upgrade(), parser.get_method(), parser.get_http_version()) == (True, b"POST", "1.1")
