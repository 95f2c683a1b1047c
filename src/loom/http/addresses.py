"""The address of a client: which network it belongs to, and which one it is behind trusted proxies. Pure.

The log, the caps on connections and the limits on requests all use these rules.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

PREFIX = 64
"""Bits of an IPv6 address that one customer of a provider gets at least: the rest is for the customer."""


class Proxies:
    """The proxies whose word on the address of a client counts: addresses and networks."""

    def __init__(self, networks: Collection[str] = ()) -> None:
        self._networks = [ip_network(each, strict=False) for each in networks]

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded: Iterable[bytes]) -> str:
        """Return the address of the client, from that of the connection and from X-Forwarded-For.

        Each proxy appends the address that it was connected from, so the last one that is not of a trusted
        proxy is the client's. Those before it are what the client sent.
        """
        client = str(parse_address(peer) or peer)
        hops = b",".join(forwarded).decode("latin-1").split(",") if client in self else []
        while hops and client in self:
            address = parse_address(_without_port(hops.pop().strip()))
            if address is None:
                break
            client = str(address)
        return client


@lru_cache(maxsize=4096)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, one of IPv4 that was written as IPv6 as IPv4; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return what stands for the client at this address: the address, of IPv6 the network of 64 bits."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed), PREFIX), strict=False))
    return address if parsed is None else str(parsed)


def _without_port(text: str) -> str:
    """Return the address in `192.0.2.1:80`, `[2001:db8::1]:80` or `[2001:db8::1]`; other text as it is."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
