"""What a server may offer to the app beyond ASGI 3. The app uses what `scope["extensions"]` names."""

from collections.abc import Callable
from typing import Protocol

ZERO_COPY = "http.response.zerocopysend"
"""A part of the body is a slice of an open file, as the ASGI specification describes."""

CROWD = "http.response.crowd"
"""A part of the body is written by others, to many responses at once.

The member `member` of the message is a Joining. `send` lets it join, and returns when it has left: at its own
wish, or because the client does not take more for now or has disconnected. Then the app continues.
"""


class Joining(Protocol):
    """A response that may join others."""

    def join(
        self,
        write: Callable[[bytes], None],
        frame: Callable[[bytes], bytes],
        on_left: Callable[[Exception | None], None],
    ) -> bool:
        """Accept calls of `write` from now on, with bytes that `frame` returned. Return False to continue
        without; otherwise `on_left` is called once.
        """

    def leave(self) -> None:
        """End the calls of `write` at once. May be repeated."""
