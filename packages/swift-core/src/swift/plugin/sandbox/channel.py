"""Framed messages between a run and a plugin's process: JSON in both directions, never pickle.

A frame is a header (the length of its body in 4 bytes, the number of its call in 8) and a JSON object. The
other side may be hostile: what does not parse ends the conversation.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]

HEADER = struct.Struct("<IQ")
MAX_REQUEST = 2**31  # the parent's own data
_READ = 1 << 18
# Waking a sleeping process costs tens to hundreds of microseconds. So the run, which has nothing else to do,
# looks for the answer of a short call all the time, and the plugin for the next call a little while. With one
# core the other side could not work meanwhile.
_MANY_CORES = len(os.sched_getaffinity(0)) > 1
SPIN_FOR_ANSWER = 2e-3 if _MANY_CORES else 0.0  # seconds
SPIN_FOR_CALL = 200e-6 if _MANY_CORES else 0.0
_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)  # for one descriptor
_LOOK_EVERY = 0.1  # seconds between looks at other things while waiting


class ChannelError(Exception):
    """The other side closed the channel or does not keep to the protocol."""


class ChannelClosed(ChannelError):
    """The other side is gone."""


def encode(number: int, message: Message) -> bytes:
    """One frame.

    Raises:
        TypeError, ValueError: the message is not JSON.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEADER.pack(len(body), number) + body


def decode(body: bytes | bytearray) -> Message:
    """The object in a frame's body.

    Raises:
        ChannelError: it is not a JSON object.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ChannelError(f"a message that is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ChannelError(f"a message that is a {type(message).__name__} and not an object")
    return message


class FrameReader:
    """Puts frames together from the pieces that arrive."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pending = bytearray()

    def take(self, piece: bytes) -> tuple[int, bytes | bytearray] | None:
        """(number, body) once a frame is complete.

        Raises:
            ChannelError: it is longer than the limit.
        """
        data: bytes | bytearray = piece
        if self._pending:
            self._pending += piece
            data = self._pending
        if len(data) >= HEADER.size:
            length, number = HEADER.unpack_from(data)
            if length > self.limit:
                raise ChannelError(f"a message of {length:,} bytes, more than {self.limit:,}")
            end = HEADER.size + length
            if len(data) >= end:
                body = data[HEADER.size : end]
                self._pending = bytearray(data[end:])
                return number, body
        if data is piece:
            self._pending = bytearray(piece)
        return None


class ParentChannel:
    """The run's side: never waits beyond a deadline, and keeps the tail of what the plugin prints.

    Args:
        output: read end of the pipe that is the plugin's stdout and stderr.
        look: called now and then while waiting; may raise to end the wait.
    """

    def __init__(self, connection: socket.socket, output: int, look: Callable[[], None], limit: int) -> None:
        self._socket = connection
        self._output = output
        self._look = look
        self._reader = FrameReader(limit)
        self._tail = b""
        connection.setblocking(False)
        os.set_blocking(output, False)
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)

    def send(self, number: int, message: Message, deadline: float, descriptors: tuple[int, ...] = ()) -> None:
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
                rest = rest[self._socket.sendmsg([rest], beside, socket.MSG_NOSIGNAL) :]
                beside = []
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except (BrokenPipeError, ConnectionResetError):
                raise ChannelClosed("the channel is closed") from None

    def receive(self, number: int, deadline: float) -> Message:
        """The answer to a call.

        Raises:
            TimeoutError: none until the deadline.
            ChannelClosed: the other side is gone.
            ChannelError: it is not an answer to this call.
        """
        spin_until = time.perf_counter() + SPIN_FOR_ANSWER
        frame = self._reader.take(b"")
        while frame is None:
            try:
                piece = self._socket.recv(_READ)
            except BlockingIOError:
                if time.perf_counter() >= spin_until:
                    self._wait(select.POLLIN, deadline)
                continue
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise ChannelClosed("the channel is closed")
            frame = self._reader.take(piece)
        if frame[0] != number:
            raise ChannelError(f"an answer to call {frame[0]} where {number} is due")
        return decode(frame[1])

    def output_tail(self) -> str:
        """The last lines that the plugin printed."""
        self._drain()
        return self._tail.decode(errors="replace")

    def close(self) -> None:
        """Close both descriptors."""
        self._socket.close()
        os.close(self._output)

    def _wait(self, event: int, deadline: float) -> None:
        remaining = deadline - time.perf_counter()
        if remaining <= 0:
            raise TimeoutError
        self._poll.register(self._socket, event)
        ready = self._poll.poll(1000 * min(remaining, _LOOK_EVERY) + 1)
        if any(descriptor == self._output for descriptor, _ in ready):
            self._drain(pieces=1)  # one piece: a flood of output must not hide the answer or the deadline
        self._look()

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


_TAIL = 4096  # bytes


class ChildChannel:
    """The plugin's side. After the lock-down it may receive and write on its socket, and nothing else."""

    def __init__(self, connection: socket.socket) -> None:
        self.descriptors: list[int] = []
        self._socket = connection
        self._reader = FrameReader(MAX_REQUEST)
        connection.setblocking(False)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def receive(self) -> tuple[int, Message]:
        """The next call; descriptors that came with it are appended to `descriptors`.

        Raises:
            ChannelClosed: the run is gone.
        """
        spin_until = time.perf_counter() + SPIN_FOR_CALL
        frame = self._reader.take(b"")  # one may have come together with the frame before it
        while frame is None:
            try:
                piece, beside, _, _ = self._socket.recvmsg(_READ, _SPACE)
            except BlockingIOError:
                if time.perf_counter() >= spin_until:
                    self._poll.poll()
                continue
            if not piece:
                raise ChannelClosed("the channel is closed")
            for _, _, data in beside:
                self.descriptors += array.array("i", data)
            frame = self._reader.take(piece)
        return frame[0], decode(frame[1])

    def send(self, number: int, message: Message) -> None:
        """Answer a call."""
        rest = memoryview(encode(number, message))
        descriptor = self._socket.fileno()
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                select.select([], [descriptor], [])
