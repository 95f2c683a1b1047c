"""Loom behind proxies that only forward to it, with their defaults for everything else.

Such a proxy may buffer. It may not lose a byte, hang, or report a success that is none.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.deploy.test_proxies import MIB, nginx, running, slow_way
from tests.support.program import BIN, free_port
from tests.support.server import Server
from tests.support.wire import Wire

Tool = Callable[[str], str]


def site(*lines: str) -> Callable[[int, int, Path], list[str]]:
    """Return nginx with these lines besides proxy_pass. Its limit of 1 MiB on bodies is always lifted."""

    def command(port: int, target: int, home: Path) -> list[str]:
        here = " ".join((f"proxy_pass http://127.0.0.1:{target};", "client_max_body_size 0;", *lines))
        return nginx(port, home, f"server {{ listen 80; location / {{ {here} }} }}")

    return command


def haproxy(port: int, target: int, home: Path) -> list[str]:
    (home / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n"
        f"listen loom\n bind 127.0.0.1:{port}\n server loom 127.0.0.1:{target}\n"
    )
    return ["haproxy", "-db", "-f", str(home / "haproxy.cfg")]


def caddy(port: int, target: int, home: Path) -> list[str]:
    (home / "Caddyfile").write_text(
        f"{{\nadmin off\nauto_https off\n}}\nhttp://:{port} {{\nreverse_proxy 127.0.0.1:{target}\n}}\n"
    )
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(home / "Caddyfile")]


def apache(port: int, target: int, home: Path) -> list[str]:
    modules = "".join(
        f"LoadModule {name}_module modules/mod_{name}.so\n"
        for name in ("mpm_event", "authz_core", "proxy", "proxy_http")
    )
    user = "User www-data\nGroup www-data\n" if os.getuid() == 0 else ""
    (home / "apache.conf").write_text(
        f"ServerRoot /usr/lib/apache2\n{modules}{user}ServerName localhost\nListen 127.0.0.1:{port}\n"
        f"DefaultRuntimeDir {home}\nPidFile {home}/pid\nErrorLog /dev/stderr\n"
        f"ProxyPass / http://127.0.0.1:{target}/\n"
    )
    return ["apache2", "-D", "FOREGROUND", "-f", str(home / "apache.conf")]


def squid(port: int, target: int, home: Path) -> list[str]:
    # Without the buffer, Squid 5 cuts an upload of known length that is faster than its server, any server.
    (home / "squid.conf").write_text(
        f"http_port 127.0.0.1:{port} accel defaultsite=localhost no-vhost\n"
        f"cache_peer 127.0.0.1 parent {target} 0 no-query originserver\n"
        "http_access allow all\nclient_request_buffer_max_size 64 MB\naccess_log none\ncache_log /dev/null\n"
        "pid_filename none\ncoredump_dir none\nshutdown_lifetime 0 seconds\npinger_enable off\n"
        "visible_hostname localhost\n"
    )
    return ["squid", "-N", "-f", str(home / "squid.conf")]


def envoy(port: int, target: int, home: Path) -> list[str]:
    types = "type.googleapis.com/envoy.extensions.filters"
    manager = f"{types}.network.http_connection_manager.v3.HttpConnectionManager"
    (home / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {manager}
          stat_prefix: loom
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: loom}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {types}.http.router.v3.Router}}
  clusters:
  - name: loom
    load_assignment:
      cluster_name: loom
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: 127.0.0.1, port_value: {target}}}}}
""")
    return ["envoy", "-c", str(home / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"]


PROXIES = {
    "nginx": site(),
    "nginx that buffers nothing": site(
        "proxy_http_version 1.1;", "proxy_request_buffering off;", "proxy_buffering off;"
    ),
    "nginx over HTTP/1.1": site("proxy_http_version 1.1;"),
    "haproxy": haproxy,
    "caddy": caddy,
    "apache": apache,
    "squid": squid,
    "envoy": envoy,
}


@pytest.fixture(params=PROXIES)
async def path(
    request: pytest.FixtureRequest, server: Server, tool: Tool, tmp_path: Path
) -> AsyncIterator[int]:
    """Run a proxy in front of a slow path to the server; gives its port."""
    async with slow_way(server.port) as slow, stock(request.param, slow, tool, tmp_path) as port:
        yield port


@asynccontextmanager
async def stock(name: str, target: int, tool: Tool, home: Path) -> AsyncIterator[int]:
    port = free_port()
    program, *flags = PROXIES[name](port, target, home)
    # Envoy comes as a Python package.
    found = str(BIN / program) if program == "envoy" else tool(program)
    async with running([found, *flags], port, home):
        yield port


async def curl(tool: Tool, *flags: str, stdin: bytes | None = None) -> int | None:
    curl = await asyncio.create_subprocess_exec(
        tool("curl"), "-sS", "-f", "-m", "20", "-X", "POST", *flags, stdin=PIPE, stdout=DEVNULL
    )
    await curl.communicate(stdin)
    return curl.returncode


async def stored(server: Server, id: str) -> bytes:
    """Return the bytes of a stream that has to be complete."""
    reader = await Wire.open("127.0.0.1", server.port)
    await reader.request("GET", f"/stream/{id}?notail")
    assert (await reader.answer()).status == 200
    assert reader.head["x-stream-state"] == "complete"
    data = await reader.body()
    await reader.close()
    return data


async def test_large_uploads_and_slow_lines_lose_no_byte(
    path: int, server: Server, tool: Tool, tmp_path: Path
):
    """With a length and without, as curl sends files and pipes; it waits for a 100 before both."""
    url, data = f"http://127.0.0.1:{path}/stream", os.urandom(30 * MIB)
    (tmp_path / "body").write_bytes(data)
    waits = ("-H", "Expect: 100-continue")
    assert await curl(tool, *waits, "-T", str(tmp_path / "body"), f"{url}/file") == 0
    assert await stored(server, "file") == data
    assert await curl(tool, *waits, "-T", "-", f"{url}/pipe", stdin=data) == 0
    assert await stored(server, "pipe") == data

    producer = await Wire.open("127.0.0.1", path)
    await producer.request("POST", "/stream/lines", transfer_encoding="chunked")
    lines = [f"line {number}\n".encode() for number in range(6)]
    for line in lines:
        await producer.chunk(line)
        await asyncio.sleep(0.05)  # slower than any proxy fills a buffer
    await producer.chunk(b"")
    assert (await producer.answer()).status == 201
    await producer.body()
    await producer.close()
    assert await stored(server, "lines") == b"".join(lines)
