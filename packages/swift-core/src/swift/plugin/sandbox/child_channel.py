"""The plugin's side of the channel to its run."""

from __future__ import annotations

import array
import os
import socket

from swift.plugin.sandbox.frames import PIECE, ChannelClosed, FrameReader, Message, decode, encode

MAX_REQUEST = 2**31  # bytes of the run's own data
_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)  # for one descriptor


class ChildChannel:
    """The plugin's side. After the lock-down it may receive and write on its socket, and nothing else."""

    def __init__(self, connection: socket.socket) -> None:
        self.descriptors: list[int] = []
        self._socket = connection
        self._descriptor = connection.fileno()
        self._reader = FrameReader(MAX_REQUEST)
        self._buffer = memoryview(bytearray(PIECE))

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
