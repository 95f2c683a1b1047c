"""The sending half of a connection: writing, flow control, cutting, and zero-copy sending of files.

Owns the state of the client by transport and socket: whether it accepts bytes, has disconnected or is dead.
Knows nothing of HTTP.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable

from loom.errors import Busy, StreamDamaged
from loom.http.extensions import Joining
from loom.http.server.limits import Limits

SENDFILE_SIZE = 1 << 20
"""The most bytes of one `sendfile` call. Other connections get their turn, and a cold file blocks briefly."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# Fields of struct tcp_info (linux/tcp.h): their offsets, and values. Times are in milliseconds, and PROBES
# counts the unanswered ones.
TCP_INFO_SIZE = 148
STATE, PROBES = 0, 3
UNACKED, LAST_DATA_RECEIVED, LAST_ACK_RECEIVED = 24, 52, 56
BYTES_ACKED, BYTES_UNSENT = 120, 144
TCP_ESTABLISHED = 1
MANY_PROBES = 3


class Channel:
    """Where the responses of a connection are written. `gone` is True once nothing can be sent any more."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.gone = False
        self.read_paused = False
        self.write_paused = False
        self._held = False
        self._progress: tuple[bytes | None, float] = None, 0.0  # what was acknowledged, and since when
        self.zero_copy = transport.get_extra_info("sslcontext") is None
        self.write = transport.write
        self._transport = transport
        self._loop = loop
        self._limits = limits
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._joined: Joining | None = None  # who else may write
        self._duplicate: int | None = None
        self._socket_writable: asyncio.Future[None] | None = None

    # Flow control.

    def pause_reading(self) -> None:
        """Stop reading from the client: TCP then stops its sending."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def hold_reading(self, held: bool) -> None:
        """Read nothing while `held`, whatever `resume_reading` says."""
        if held == self._held:
            return
        self._held = held
        if held:
            self.pause_reading()
        else:
            self.resume_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self.read_paused and not self._held:
            self.read_paused = False
            self._transport.resume_reading()

    def on_pause_writing(self) -> None:
        """Note that the transport buffers more than its high-water mark."""
        self.write_paused = True
        self._may_write.clear()
        if self._joined is not None:
            self._joined.leave()

    def on_resume_writing(self) -> None:
        """Note that the transport buffers little again, and wake the waiting senders."""
        self.write_paused = False
        self._may_write.set()

    async def wait_to_write(self) -> None:
        """Wait until the transport buffers little, or the client is gone."""
        await self._may_write.wait()

    # Crowds.

    async def wait_joined(self, member: Joining, frame: Callable[[bytes], bytes]) -> None:
        """Let others write, until the member leaves. It leaves at once when the client lags or is gone."""
        left: asyncio.Future[None] = self._loop.create_future()

        def on_left(error: Exception | None) -> None:
            if not left.done():  # cancelled
                left.set_result(None) if error is None else left.set_exception(error)

        if not member.join(self.write, frame, on_left):
            return
        self._joined = member
        try:
            await left
        finally:
            self._joined = None
            member.leave()

    # Ends.

    def cut(self, *, reset: bool) -> None:
        """Close before the response is complete; `reset` where a plain close would look like a complete one.

        Bytes already written leave as long as the client reads: the last lines of a dying job matter.
        """
        if self.gone:
            return
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            if not self.zero_copy:
                # A close would first send the close of TLS, which says that the response is complete.
                # So what the transport still buffers is lost.
                self._transport.abort()
                self.on_lost()
                return
        self._transport.close()
        self.on_lost()
        self._drop_if_stalled(None)

    def _drop_if_stalled(self, before: bytes | None) -> None:
        """Abort if the client acknowledged no byte since `before`; check again later while bytes are left."""
        if not self._transport.get_write_buffer_size():
            return
        now = self.acknowledged()
        if now == before:
            self._transport.abort()
        else:
            self._loop.call_later(self._limits.cut_timeout, self._drop_if_stalled, now)

    def on_lost(self) -> None:
        """Note that nothing can be sent any more, and wake the waiting senders."""
        self.gone = True
        if self._joined is not None:
            self._joined.leave()
        self.on_resume_writing()
        self._stop_watching()
        if self._duplicate is not None:
            os.close(self._duplicate)
            self._duplicate = None

    def client_is_dead(self, *, expect_more: bool) -> bool:
        """Return True if the client no longer answers, or has closed while reading is paused.

        A healthy client that reads nothing for now still answers the probes of its closed window;
        TCP_USER_TIMEOUT would end it too. With `expect_more` a close is left to reading, which finds it after
        the bytes that are still unread.
        """
        info = self._tcp_info()
        silent = min(_field(info, LAST_DATA_RECEIVED), _field(info, LAST_ACK_RECEIVED)) / 1000
        unanswered = _field(info, UNACKED) or info[PROBES] >= MANY_PROBES
        if unanswered and silent > self._limits.dead_timeout:
            return True
        return self.read_paused and not expect_more and info[STATE] != TCP_ESTABLISHED

    def acknowledged(self) -> bytes | None:
        """Return a value that changes with each byte the client acknowledges; None if nothing is pending."""
        info = self._tcp_info()
        pending = (
            self._transport.get_write_buffer_size() or _field(info, UNACKED) or _field(info, BYTES_UNSENT)
        )
        return info[BYTES_ACKED : BYTES_ACKED + 8] if pending else None

    def is_stalled(self) -> bool:
        """Return True if bytes are pending and the client has acknowledged none for too long.

        Notices a change only from one call to the next.
        """
        acknowledged = self.acknowledged()
        if acknowledged is None or acknowledged != self._progress[0]:
            self._progress = acknowledged, self._loop.time()
        return self._loop.time() - self._progress[1] > self._limits.unread_timeout

    def _tcp_info(self) -> bytes:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
        return info.ljust(TCP_INFO_SIZE, b"\0")

    # Files.

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send file[offset, offset + count) after all bytes written before; return early once gone.

        The bytes go from the page cache to the socket, not through this process. Raises StreamDamaged if the
        file is shorter, Busy if no descriptor is free. After any error, or a cancellation, it is unknown how
        much was sent: the caller must cut the connection.
        """
        await self._wait_all_written()
        while count and not self.gone:
            try:
                # The loop owns the transport's descriptor, and allows no writer of ours on it.
                if self._duplicate is None:
                    self._duplicate = os.dup(self._socket.fileno())
                sent = os.sendfile(self._duplicate, file, offset, min(count, SENDFILE_SIZE))
            except BlockingIOError:
                await self._wait_socket_writable()
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

    async def _wait_all_written(self) -> None:
        """Wait until the transport buffers nothing: with a limit of 0 it resumes writing only then."""
        if self.gone or not self._transport.get_write_buffer_size():
            return
        self._transport.set_write_buffer_limits(0)
        try:
            await self.wait_to_write()
        finally:
            if not self.gone:
                self._transport.set_write_buffer_limits()

    async def _wait_socket_writable(self) -> None:
        assert self._duplicate is not None
        self._socket_writable = self._loop.create_future()
        self._loop.add_writer(self._duplicate, self._stop_watching)
        try:
            await self._socket_writable
        finally:
            self._stop_watching()

    def _stop_watching(self) -> None:
        waiter, self._socket_writable = self._socket_writable, None
        if waiter is not None:
            assert self._duplicate is not None
            self._loop.remove_writer(self._duplicate)
            if not waiter.done():
                waiter.set_result(None)


def _field(info: bytes, offset: int) -> int:
    return int.from_bytes(info[offset : offset + 4], "little")
