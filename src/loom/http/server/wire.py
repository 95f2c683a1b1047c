"""The sending half of a connection and its ends. Knows sockets and transports, nothing of HTTP.

Owns zero-copy sending: the file's bytes go from the page cache to the socket without passing through here.
"""

import asyncio
import errno
import os
import socket
import struct

from uvicorn.protocols.http.flow_control import FlowControl

from loom.errors import Busy, StreamDamaged
from loom.http.server.config import Limits

SENDFILE_TURN = 1 << 20
"""The most that one call may send, so that others have their turn and a cold file holds the loop briefly."""

OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Nothing waits for more to send; a peer that vanished is noticed after a minute (seconds, seconds, tries).

asyncio's loop sets no delay off only where the listening socket names its protocol.
"""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# struct tcp_info of linux/tcp.h: where its fields are. Times in milliseconds; PROBES counts those unanswered.
TCP_INFO_SIZE = 148
STATE, PROBES = 0, 3
UNACKED, LAST_DATA_RECEIVED, LAST_ACK_RECEIVED = 24, 52, 56
BYTES_ACKED, BYTES_UNSENT = 120, 144
TCP_ESTABLISHED = 1
MANY_PROBES = 3


class Wire(FlowControl):
    """Where a connection's answers are written. `gone` once nothing can be sent any more."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        super().__init__(transport)
        self.gone = False
        self.zero_copy = transport.get_extra_info("sslcontext") is None
        self.write = transport.write
        self._transport = transport
        self._loop = loop
        self._limits = limits
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._duplicate: int | None = None
        self._writable: asyncio.Future[None] | None = None
        for option in OPTIONS:
            self._socket.setsockopt(*option)

    def cut(self, *, reset: bool) -> None:
        """End now, visibly short; with `reset` where a plain close would look like a good end.

        What was handed over and not yet sent has a moment to leave: a dying job's last lines matter.
        """
        if self.gone:
            return
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.close()
        self._loop.call_later(self._limits.cut_timeout, self._transport.abort)
        self.lost()

    def lost(self) -> None:
        """Nothing can be sent any more: let whoever waits to send go on."""
        self.gone = True
        self.resume_writing()
        self._stop_waiting()
        if self._duplicate is not None:
            os.close(self._duplicate)
            self._duplicate = None

    def peer_is_dead(self, *, expect_more: bool) -> bool:
        """True if what was sent is met with silence, or the peer ended while we do not read.

        A reader that is well and only holds still answers the probes of its closed window; TCP_USER_TIMEOUT
        would end it too. With `expect_more` the peer's end is for the one who reads to find, behind bytes
        still unread.
        """
        info = self._tcp_info()
        silent = min(_field(info, LAST_DATA_RECEIVED), _field(info, LAST_ACK_RECEIVED)) / 1000
        unanswered = _field(info, UNACKED) or info[PROBES] >= MANY_PROBES
        if unanswered and silent > self._limits.dead_timeout:
            return True
        return self.read_paused and not expect_more and info[STATE] != TCP_ESTABLISHED

    def delivered(self) -> bytes | None:
        """What tells one amount of delivered bytes from another, as long as more is on its way; else None."""
        info = self._tcp_info()
        waiting = (
            self._transport.get_write_buffer_size() or _field(info, UNACKED) or _field(info, BYTES_UNSENT)
        )
        return info[BYTES_ACKED : BYTES_ACKED + 8] if waiting else None

    def _tcp_info(self) -> bytes:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
        return info.ljust(TCP_INFO_SIZE, b"\0")

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send file[offset, offset + count) behind all that was written before; returns early when gone.

        Raises StreamDamaged when the file ends before, Busy when no descriptor is left. After any error,
        cancellation too, it is unknown how much was sent: the connection has to be cut.
        """
        await self._all_written()
        while count and not self.gone:
            try:
                if self._duplicate is None:
                    self._duplicate = os.dup(self._socket.fileno())
                sent = os.sendfile(self._duplicate, file, offset, min(count, SENDFILE_TURN))
            except BlockingIOError:
                await self._until_writable()
                continue
            except ConnectionError:
                self.cut(reset=True)
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise Busy("Too many files are open; try again later.") from error
                raise
            if not sent:
                raise StreamDamaged("The file ends before the promised bytes.")
            offset += sent
            count -= sent
            await asyncio.sleep(0)

    async def _all_written(self) -> None:
        """Wait until the transport holds nothing back: with a limit of 0 it tells when."""
        if self.gone or not self._transport.get_write_buffer_size():
            return
        self._transport.set_write_buffer_limits(0)
        try:
            await self.drain()
        finally:
            if not self.gone:
                self._transport.set_write_buffer_limits()

    async def _until_writable(self) -> None:
        assert self._duplicate is not None
        self._writable = self._loop.create_future()
        self._loop.add_writer(self._duplicate, self._stop_waiting)
        try:
            await self._writable
        finally:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        waiter, self._writable = self._writable, None
        if waiter is not None:
            assert self._duplicate is not None
            self._loop.remove_writer(self._duplicate)
            if not waiter.done():
                waiter.set_result(None)


def _field(info: bytes, place: int) -> int:
    return int.from_bytes(info[place : place + 4], "little")
