import pytest

from loom.http.middleware.guard import host_name, same_host
from loom.wire.hosts import is_loopback


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:3060", "localhost"),
        ("a.example.:80", "a.example"),
        ("[::1]:3060", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:", "127.0.0.1"),
        ("", ""),
        ("::1", ""),
        ("a:b", ""),
        ("localhost:80:80", ""),
        ("evil.example:80@localhost", ""),
        ("localhost/evil", ""),
        (":80", ""),
    ],
)
def test_a_host_is_a_name_with_or_without_port(host, name):
    assert host_name(host) == name


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_names_of_this_machine(name):
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "0.0.0.0",
        "10.0.0.1",
        "127.0.0.1.example",
        "::",
    ],
)
def test_names_that_others_may_control(name):
    assert not is_loopback(name)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3060", "localhost:3060"),
        ("https://loom.example", "loom.example"),
        ("http://[::1]:1", "[::1]:1"),
        ("https://loom.example", "loom.example:443"),
        ("http://loom.example:80", "loom.example"),
        ("http://LOOM.example", "loom.example"),
    ],
)
def test_a_page_of_the_same_host(origin, host):
    assert same_host(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "localhost"),
        ("", ""),
        ("http://localhost:8080", "localhost:3060"),
        ("https://evil.example", "loom.example"),
        ("http://loom.example:x", "loom.example:x"),
        ("http://", ""),
        ("https://loom.example", "loom.example:80"),
    ],
)
def test_a_page_of_another_host(origin, host):
    assert not same_host(origin, host)
