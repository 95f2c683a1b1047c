"""The certificate of a server, and its replacement while connections stay open."""

import ssl
from pathlib import Path
from typing import NoReturn

from loom.errors import ConfigError


class Certificate:
    """A certificate and its private key, in PEM files; without `key`, both are in the file `cert`.

    `context` belongs to the server. Raises ConfigError if the files cannot be used.
    """

    def __init__(self, cert: Path, key: Path | None = None) -> None:
        self._files = cert, key
        self._current = self.context = self._load()
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Use for new connections what the files have now. May be called in any thread.

        Raises ConfigError; the certificate then stays as it is.
        """
        # A new context: the one in use would be left with half of a pair of files that do not match.
        self._current = self._load()

    def _load(self) -> ssl.SSLContext:
        cert, key = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a callback, OpenSSL asks the terminal for the password of an encrypted key.
            context.load_cert_chain(cert, key, password=_refuse_password)
        except ssl.SSLError as error:
            raise ConfigError(
                f"The certificate {cert} and its key cannot be used: {error.reason or 'they are not PEM'}."
            ) from None
        except OSError as error:
            wrong = " or ".join(str(path) for path in (cert, key) if path)
            raise ConfigError(f"The certificate cannot be read from {wrong}: {error.strerror}.") from None
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _initial: ssl.SSLContext) -> None:
        """Give a new connection the current certificate; OpenSSL calls this for every handshake."""
        connection.context = self._current


def _refuse_password() -> NoReturn:
    raise ConfigError("The key of the certificate is encrypted; remove its password with openssl pkey.")
