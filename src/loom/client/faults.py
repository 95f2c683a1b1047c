"""Why a connection to a server failed, in words: no error quotes a library.

Shared by the session and by `loom doctor`, which has its own HTTP client.
"""

import errno
import os
import socket
import ssl
from urllib.parse import urlsplit

from loom.client.errors import ClientError, Foreign, InvalidRequest, Lost

REASONS = {
    errno.ECONNREFUSED: "no program listens there",
    errno.ECONNRESET: "the connection was closed",
    errno.EHOSTUNREACH: "there is no route to this host",
    errno.ENETUNREACH: "there is no route to this network",
    errno.ETIMEDOUT: "there was no answer in time",
}
PROBE_TIMEOUT = 3.0


def unreachable(name: str, error: OSError) -> ClientError:
    """Return the error for a connection to the server or proxy `name` that could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted ({error.verify_message})"
    elif isinstance(error, ssl.SSLError):
        if "VERSION" in (error.reason or "") or "RECORD" in (error.reason or ""):
            return InvalidRequest(f"{name} does not speak TLS: give the URL of the server with http://.")
        why = "the TLS handshake failed"
    elif isinstance(error, socket.gaierror):
        why = "the name of the host is not known"
    elif isinstance(error, TimeoutError):
        why = REASONS[errno.ETIMEDOUT]
    else:
        why = REASONS.get(error.errno or 0) or (os.strerror(error.errno) if error.errno else "unknown reason")
    return Lost(f"{name} cannot be reached: {why}.")


def expects_tls(url: str) -> ClientError | None:
    """Return the error for a server that expects TLS, None if it does not. Blocks for seconds."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address = parts.hostname or "", parts.port or 80
    try:
        with (
            socket.create_connection(address, timeout=PROBE_TIMEOUT) as probe,
            context.wrap_socket(probe, server_hostname=parts.hostname),
        ):
            pass
    except OSError:
        return None
    origin = f"http://{parts.netloc.rpartition('@')[2]}"
    return InvalidRequest(f"{origin} expects TLS: give the URL of the server with https://.")


def not_http(name: str) -> Foreign:
    """Return the error for a server whose response is not HTTP."""
    return Foreign(0, f"{name} does not speak HTTP: check the URL of the server.")
