"""Clients that send slowly, endlessly, wrongly, or do not read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"


@contextlib.contextmanager
def connected(on: Any) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", on.port), timeout=10) as one:
        yield one


def received(one: socket.socket) -> bytes:
    """Everything until the other side hangs up."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := one.recv(65536):
            parts.append(part)
    return b"".join(parts)


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def post(length: int | str, extra: str = "") -> bytes:
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_headers_that_never_end(run_server: Any) -> None:
    with run_server(receive_timeout=0.5) as on, connected(on) as slow, connected(on) as silent:
        slow.sendall(f"POST {CHAT} HTTP/1.1\r\n".encode())
        began = time.monotonic()
        for number in range(4):  # a line now and then does not keep it alive
            slow.sendall(f"X-{number}: a\r\n".encode())
            time.sleep(0.1)
        assert error_of(received(slow)) == (408, "receive_timeout")
        assert received(silent) == b"" and time.monotonic() - began < 5
        assert httpx.get(on.url + "/health").status_code == 200


def test_a_body_that_never_ends(run_server: Any) -> None:
    with run_server(receive_timeout=0.5) as on, connected(on) as one:
        one.sendall(post(1000) + b'{"model": ')
        assert error_of(received(one)) == (408, "receive_timeout")
        assert not on.gateway.busy


def test_huge_headers(run_server: Any) -> None:
    with run_server() as on, connected(on) as one:
        one.sendall(f"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {'a' * 70_000}".encode())
        assert error_of(received(one)) == (431, "headers_too_large")


def test_a_huge_body_is_refused_before_it_is_read(run_server: Any) -> None:
    with run_server(max_body_mb=0.01) as on, connected(on) as one:
        one.sendall(post(10**12))
        answer = one.recv(65536)  # not a byte of it was sent
        assert error_of(answer) == (413, "request_too_large")


def test_a_huge_body_without_a_length(run_server: Any) -> None:
    with run_server(max_body_mb=0.01) as on:
        answer = httpx.post(on.url + CHAT, content=iter([b"a" * 5000] * 5))
        assert answer.status_code == 413
        assert httpx.post(on.url + CHAT, json=on.body()).status_code == 200


@pytest.mark.parametrize("length", ["-5", "abc", "1e3", "99999999999999999999999"])
def test_lengths_that_are_none(run_server: Any, length: str) -> None:
    with run_server() as on, connected(on) as one:
        one.sendall(post(length) + b"{}")
        one.shutdown(socket.SHUT_WR)
        assert received(one).split()[1] in (b"400", b"413")


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\xff\xfe / HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_http(run_server: Any, sent: bytes) -> None:
    with run_server() as on, connected(on) as one:
        one.sendall(sent)
        assert received(one).startswith(b"HTTP/1.1 400")
        assert httpx.get(on.url + "/health").status_code == 200


@pytest.mark.parametrize("body", [b'{"model": "\xff\xfe"}', b"\xc3\x28", b"\x00"])
def test_invalid_utf8(run_server: Any, body: bytes) -> None:
    with run_server() as on:
        answer = httpx.post(on.url + CHAT, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_json"


def test_too_many_connections(run_server: Any) -> None:
    with run_server(max_connections=20) as on, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(on))
        one = stack.enter_context(connected(on))
        assert error_of(received(one)) == (503, "too_many_connections")
        stack.close()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(on.url + "/health").status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail("the server does not recover")


def test_a_client_that_does_not_read_is_left(run_server: Any, child_engine: Any, eventually: Any) -> None:
    engine = child_engine(0.001, word="w" * 10_000)
    with run_server(engine) as on, connected(on) as one:
        protocol = on.server.config.http
        protocol.limits = dataclasses.replace(protocol.limits, stalled_seconds=0.5)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps(on.body(tokens=4000, stream=True)).encode()
        one.sendall(post(len(body)) + body)
        eventually(lambda: engine.seen)
        eventually(lambda: not engine.streams and not on.gateway.busy, seconds=30)
        metrics = httpx.get(on.url + "/metrics").text
        made = next(line for line in metrics.splitlines() if line.startswith("swift_completion_tokens_total"))
        assert 0 < float(made.split()[-1]) < 4000


def test_many_requests_on_one_connection(run_server: Any) -> None:
    with run_server() as on, httpx.Client() as client:
        for _ in range(20):
            assert client.post(on.url + CHAT, json=on.body(tokens=2)).status_code == 200
            assert client.post(on.url + CHAT, content=b"{").status_code in (400, 415)
