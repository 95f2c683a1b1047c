"""Host names and addresses with a fixed meaning."""

import ipaddress
from functools import lru_cache


@lru_cache
def is_loopback(name: str) -> bool:
    """Return True if a host name or address always means this machine (RFC 6761 section 6.3)."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_any(name: str) -> bool:
    """Return True if `name` stands for all addresses of this machine, to a program that listens."""
    return name in ("0.0.0.0", "::")  # noqa: S104 - a comparison


def is_address(name: str) -> bool:
    """Return True if `name` is an IP address, which no DNS answer can redirect."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
