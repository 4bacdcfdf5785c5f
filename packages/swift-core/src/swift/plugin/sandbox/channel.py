"""The run's side of the channel to a plugin's process."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable

from swift.plugin.sandbox.frames import (
    PIECE,
    ChannelClosed,
    ChannelError,
    FrameReader,
    Message,
    decode,
    encode,
)

_LOOK_EVERY = 0.1  # seconds between looks at other things while waiting
_SOON = 0.05  # seconds within which a short call is answered
_TAIL = 4096  # bytes of what the plugin prints
_TIMEVAL = struct.Struct("ll")
_AT_ONCE = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT


class ParentChannel:
    """The run's side: never waits beyond a deadline, and keeps the tail of what the plugin prints.

    Args:
        output: read end of the pipe that is the plugin's stdout and stderr.
        look: called now and then while waiting; may raise to end the wait.
        limit: bytes of an answer.
        late: called once for a call that is not answered soon.
    """

    def __init__(
        self,
        connection: socket.socket,
        output: int,
        look: Callable[[], None],
        limit: int,
        late: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket = connection
        self._output = output
        self._look = look
        self._late = late
        self._reader = FrameReader(limit)
        self._buffer = memoryview(bytearray(PIECE))
        self._tail = b""
        connection.setblocking(True)  # with a limit to the wait that poll() is not asked about
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, int(1e6 * _SOON)))
        os.set_blocking(output, False)
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)

    def send(
        self, number: int, message: Message | bytes, deadline: float, descriptors: tuple[int, ...] = ()
    ) -> None:
        """Send a frame, with descriptors of shared memory beside it.

        Raises:
            TimeoutError: the other side does not read it.
            ChannelClosed: it is gone.
        """
        rest = memoryview(encode(number, message))
        beside = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        while rest:
            try:
                if beside:
                    sent = self._socket.sendmsg([rest], beside, _AT_ONCE)
                else:
                    sent = self._socket.send(rest, _AT_ONCE)
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise ChannelClosed("the channel is closed") from None
            rest, beside = rest[sent:], []

    def receive(self, number: int, deadline: float) -> Message:
        """The answer to a call.

        Raises:
            TimeoutError: none until the deadline.
            ChannelClosed: the other side is gone.
            ChannelError: it is not an answer to this call.
        """
        frame = self._reader.rest() or self._soon(deadline)
        while frame is None:
            if self._wait(select.POLLIN, deadline):
                frame = self._read(socket.MSG_DONTWAIT)
        self._look()
        if frame[0] != number:
            raise ChannelError(f"an answer to call {frame[0]} where {number} is due")
        return decode(frame[1])

    def _soon(self, deadline: float) -> tuple[int, bytes] | None:
        """A frame that comes at once or soon, for which the kernel is asked but once."""
        if deadline - time.perf_counter() < _SOON:
            return None
        frame = self._read(0)
        if frame is None:
            self._late()
        return frame

    def _read(self, flags: int) -> tuple[int, bytes] | None:
        try:
            size = self._socket.recv_into(self._buffer, 0, flags)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            size = 0
        if not size:
            raise ChannelClosed("the channel is closed")
        return self._reader.take(self._buffer[:size])

    def output_tail(self) -> str:
        """The last lines that the plugin printed."""
        self._drain()
        return self._tail.decode(errors="replace")

    def close(self) -> None:
        """Close both descriptors."""
        self._socket.close()
        os.close(self._output)

    def _wait(self, event: int, deadline: float) -> bool:
        """Wait for an event of the socket, not for long; whether it came."""
        remaining = deadline - time.perf_counter()
        if remaining <= 0:
            raise TimeoutError
        self._poll.register(self._socket, event)
        ready = self._poll.poll(1000 * min(remaining, _LOOK_EVERY) + 1)
        if any(descriptor == self._output for descriptor, _ in ready):
            self._drain(pieces=1)  # one piece: a flood of output must not hide the answer or the deadline
            ready = [each for each in ready if each[0] != self._output]
        self._look()
        return bool(ready)

    def _drain(self, pieces: int = 16) -> None:
        for _ in range(pieces):
            try:
                piece = os.read(self._output, 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                with contextlib.suppress(KeyError):
                    self._poll.unregister(self._output)  # a closed pipe is ready for ever
                return
            self._tail = (self._tail + piece)[-_TAIL:]
