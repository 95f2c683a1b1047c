"""The address of a client: trusted proxies, and the networks of IPv6."""

import pytest

from loom.http.addresses import Proxies, network_of

TRUSTED = Proxies(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", [b"192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [b"6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [b"6.6.6.6", b"192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [b"6.6.6.6, 192.0.2.1, 10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1", [b"10.0.0.9, 10.1.2.3"], "10.0.0.9"),
        ("127.0.0.1", [b"192.0.2.1:8080"], "192.0.2.1"),
        ("127.0.0.1", [b"[2001:dead::1]:8080"], "2001:dead::1"),
        ("127.0.0.1", [b"2001:dead::1"], "2001:dead::1"),
        ("127.0.0.1", [b"::ffff:192.0.2.1"], "192.0.2.1"),
        ("::ffff:127.0.0.1", [b"192.0.2.1"], "192.0.2.1"),
        ("2001:db8::5", [b"192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [b"192.0.2.1, unknown"], "127.0.0.1"),
        ("127.0.0.1", [b"192.0.2.1, unknown, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", [b"192.0.2.1,"], "127.0.0.1"),
        ("127.0.0.1", [b"", b"\xff\xfe"], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("192.0.2.9", [b"127.0.0.1"], "192.0.2.9"),
        ("192.0.2.9", [b"6.6.6.6"], "192.0.2.9"),
        ("::ffff:192.0.2.9", [b"6.6.6.6"], "192.0.2.9"),
        ("", [b"6.6.6.6"], ""),
    ],
)
def test_only_trusted_proxies_name_the_client(peer: str, forwarded: list[bytes], client: str):
    assert TRUSTED.client(peer, forwarded) == client


def test_without_trusted_proxies_nothing_names_the_client():
    assert Proxies().client("127.0.0.1", [b"192.0.2.1"]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_its_address_or_its_network_of_ipv6(address: str, network: str):
    assert network_of(address) == network
