"""A server on a raw socket that answers what a test tells it to, byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
RESET = object()  # in a script: break the connection without a word
CLOSE = object()


def answered(status: str, body: bytes, headers: str = "") -> bytes:
    """A whole response."""
    return (
        f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}connection: close\r\n\r\n".encode()
        + body
    )


def refusal(status: str, message: str, headers: str = "") -> bytes:
    """An error as OpenAI's API writes it."""
    return answered(status, json.dumps({"error": {"message": message}}).encode(), headers)


def event(value: Any) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def said(text: str | None, finish: str | None = None) -> bytes:
    """A piece of a chat."""
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


MODELS = answered("200 OK", json.dumps({"data": [{"id": "m", "max_model_len": 99}]}).encode())


@dataclass
class Misbehaving:
    """One script for each POST, in turn (the last one again and again); GET /models is answered well.

    Attributes:
        scripts: parts to send: bytes, seconds to wait, RESET or CLOSE.
        requests: heads and bodies of what came.
        left: POSTs whose client went away before the script's end.
    """

    scripts: list[Iterable[Any]]
    models: bytes = MODELS
    requests: list[bytes] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = read_request(connection)
            self.requests.append(request)
            if request.startswith(b"GET"):
                connection.sendall(self.models)
                return
            number = sum(one.startswith(b"POST") for one in self.requests) - 1
            try:
                for part in self.scripts[min(number, len(self.scripts) - 1)]:
                    if part is CLOSE:
                        return
                    if part is RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                        return
                    if isinstance(part, bytes):
                        connection.sendall(part)
                    else:
                        time.sleep(part)
            except OSError:
                self.left += 1


def read_request(connection: socket.socket) -> bytes:
    """Head and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < wanted:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def misbehaving(*scripts: Iterable[Any], models: bytes = MODELS) -> Iterator[Misbehaving]:
    """A running one."""
    server = Misbehaving(list(scripts), models)
    try:
        yield server
    finally:
        server.close()
