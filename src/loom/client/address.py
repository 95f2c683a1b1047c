"""Check the URL of a server or a proxy, and a token. Does no I/O, and is fast to load."""

import re
import warnings
from urllib.parse import urlsplit

from loom.ids import quote_id
from loom.wire.hosts import is_loopback

DEFAULT_SERVER = "http://127.0.0.1:3060"

_TOKEN = re.compile(r"[!-~]+")


class UnencryptedToken(UserWarning):
    """A token, or a user with a password, is sent to another machine without TLS."""


def warn_unencrypted(server: str, *, stacklevel: int = 1) -> None:
    """Warn with UnencryptedToken if what authenticates at `server` can be read on the way to it."""
    url = urlsplit(server)
    host = url.hostname or ""
    if url.scheme == "http" and not is_loopback(host):
        text = f"The token is sent to {host} unencrypted, so that others can read it on the way; use https."
        warnings.warn(text, UnencryptedToken, stacklevel=stacklevel + 1)


def url_fault(text: str) -> str:
    """Return what is wrong with the URL of a server, as the end of a sentence; empty if it is valid."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return "is not a URL such as http://localhost:3060"
    if not valid or not text.isprintable() or " " in text:
        return "is not a URL such as http://localhost:3060"
    return "must end with its path" if url.query or url.fragment else ""


def page_url(server: str, id: str) -> str:
    """Return the address of a stream's page, without a user and a password."""
    url = urlsplit(server)
    path = f"{url.path.rstrip('/')}/ui/stream/{quote_id(id)}"
    return url._replace(netloc=url.netloc.rpartition("@")[2], path=path).geturl()


def token_fault(text: str) -> str:
    """Return what is wrong with a token, as the end of a sentence without it; empty if it is valid."""
    return "" if _TOKEN.fullmatch(text) else "is empty or has spaces or characters outside ASCII"


def has_user(server: str) -> bool:
    """Return True if a URL has a user, who is authenticated instead of a token."""
    return "@" in urlsplit(server).netloc
