"""Framed messages between a run and a plugin's process: JSON in both directions, never pickle.

A frame is a header (the length of its body in 4 bytes, the number of its call in 8) and a JSON object, or in
the place of {"value": number, "dtype": name}, the most frequent answer, "=" with 8 bytes of each. The other
side may be hostile: what does not parse ends the conversation.
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
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)  # for one descriptor
_LOOK_EVERY = 0.1  # seconds between looks at other things while waiting
_SOON = 0.05  # seconds within which a short call is answered
_EQUALS = b"="
_NUMBER = struct.Struct("<cd8s")
_TIMEVAL = struct.Struct("ll")
_AT_ONCE = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT


class ChannelError(Exception):
    """The other side closed the channel or does not keep to the protocol."""


class ChannelClosed(ChannelError):
    """The other side is gone."""


def encode(number: int, message: Message | bytes) -> bytes:
    """One frame; a body that is sent again and again is given as it is.

    Raises:
        TypeError, ValueError: the message is not JSON.
    """
    body = message if isinstance(message, bytes) else body_of(message)
    return HEADER.pack(len(body), number) + body


def body_of(message: Message) -> bytes:
    """What a frame holds.

    Raises:
        TypeError, ValueError: the message is not JSON.
    """
    return _ENCODER.encode(message).encode()


def number_body(value: float, dtype: str) -> bytes:
    """The body that stands for {"value": value, "dtype": dtype}."""
    return _NUMBER.pack(_EQUALS, value, dtype.encode())


def decode(body: bytes | bytearray) -> Message:
    """The object in a frame's body.

    Raises:
        ChannelError: it is neither a JSON object nor a number.
    """
    if len(body) == _NUMBER.size and body[:1] == _EQUALS:
        _, value, dtype = _NUMBER.unpack(body)
        return {"value": value, "dtype": dtype.rstrip(b"\0").decode("ascii", "replace")}
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

    def take(self, piece: bytes | memoryview) -> tuple[int, bytes] | None:
        """(number, body) once a frame is complete.

        Raises:
            ChannelError: it is longer than the limit.
        """
        data: bytes | bytearray | memoryview = piece
        if self._pending:
            self._pending += piece
            data = self._pending
        if len(data) >= HEADER.size:
            length, number = HEADER.unpack_from(data)
            if length > self.limit:
                raise ChannelError(f"a message of {length:,} bytes, more than {self.limit:,}")
            end = HEADER.size + length
            if len(data) >= end:
                body = bytes(data[HEADER.size : end])
                if self._pending or len(data) > end:
                    self._pending = bytearray(data[end:])
                return number, body
        if data is piece:
            self._pending = bytearray(piece)
        return None

    def rest(self) -> tuple[int, bytes] | None:
        """take() of what came together with the frame before."""
        return self.take(b"") if self._pending else None


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
        self._buffer = memoryview(bytearray(_READ))
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


_TAIL = 4096  # bytes


class ChildChannel:
    """The plugin's side. After the lock-down it may receive and write on its socket, and nothing else."""

    def __init__(self, connection: socket.socket) -> None:
        self.descriptors: list[int] = []
        self._socket = connection
        self._descriptor = connection.fileno()
        self._reader = FrameReader(MAX_REQUEST)
        self._buffer = memoryview(bytearray(_READ))

    def receive(self) -> tuple[int, Message]:
        """The next call, read.

        Raises:
            ChannelClosed: the run is gone.
        """
        number, body = self.receive_body()
        return number, decode(body)

    def receive_body(self) -> tuple[int, bytes]:
        """The next call; descriptors that came with it are appended to `descriptors`.

        Raises:
            ChannelClosed: the run is gone.
        """
        frame = self._reader.rest()
        while frame is None:
            size, beside, _, _ = self._socket.recvmsg_into([self._buffer], _SPACE)
            if not size:
                raise ChannelClosed("the channel is closed")
            for _, _, data in beside:
                self.descriptors += array.array("i", data)
            frame = self._reader.take(self._buffer[:size])
        return frame

    def send(self, number: int, message: Message | bytes) -> None:
        """Answer a call."""
        frame = encode(number, message)
        sent = os.write(self._descriptor, frame)
        while sent < len(frame):
            sent += os.write(self._descriptor, memoryview(frame)[sent:])
