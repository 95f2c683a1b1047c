"""What can be the URL of a server or a proxy, and what a token. Pure, and quick to load."""

import re
from urllib.parse import urlsplit

_TOKEN = re.compile(r"[!-~]+")


def url_fault(text: str) -> str:
    """What is wrong with the URL of a server, as the end of a sentence; empty if nothing is."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return "is not a URL such as http://localhost:3060"
    if not valid or not text.isprintable() or " " in text:
        return "is not a URL such as http://localhost:3060"
    return "must end with its path" if url.query or url.fragment else ""


def token_fault(text: str) -> str:
    """What is wrong with a token, as the end of a sentence that does not quote it; empty if nothing is."""
    return "" if _TOKEN.fullmatch(text) else "is empty or has spaces or characters outside ASCII"


def has_user(server: str) -> bool:
    """True if a URL names a user, who is authenticated instead of a token."""
    return "@" in urlsplit(server).netloc
