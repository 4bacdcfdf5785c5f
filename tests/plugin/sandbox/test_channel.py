"""What the run does with answers that no honest process sends."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from swift.plugin.sandbox.channel import ParentChannel
from swift.plugin.sandbox.child_channel import ChildChannel  # fmt: skip
from swift.plugin.sandbox.frames import HEADER, ChannelClosed, ChannelError, encode, number_body
from swift.plugin.sandbox.offers import parse_offer, plain
from swift.plugin.sandbox.shared import Arena


class Ends(NamedTuple):
    parent: ParentChannel
    other: socket.socket
    output: int


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    parent = ParentChannel(ours, reading, lambda: None, 100_000)
    yield Ends(parent, theirs, writing)
    parent.close()
    theirs.close()
    os.close(writing)


def soon() -> float:
    return time.perf_counter() + 0.2


def test_frames_in_pieces_and_together(ends: Ends) -> None:
    first, second = encode(1, {"text": "\u00e9" * 1000}), encode(2, {"b": 2})
    ends.other.sendall((first + second)[:500])
    with pytest.raises(TimeoutError):
        ends.parent.receive(1, soon())
    ends.other.sendall((first + second)[500:])
    assert ends.parent.receive(1, soon()) == {"text": "\u00e9" * 1000}
    assert ends.parent.receive(2, soon()) == {"b": 2}


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"\xff" * 64, "more than 100,000"),
        (HEADER.pack(2**32 - 1, 1), "more than 100,000"),
        (encode(99, {}), "an answer to call 99 where 1 is due"),
        (HEADER.pack(2, 1) + b"[]", "a list and not an object"),
        (HEADER.pack(2, 1) + b"{x", "not JSON"),
        (HEADER.pack(4, 1) + b"\xff\xfe\x00\x01", "not JSON"),
        (HEADER.pack(9, 1) + b"=12345678", "not JSON"),
        (HEADER.pack(90_000, 1) + b"[" * 90_000, "not JSON"),
        (HEADER.pack(9_007, 1) + b'{"a": ' + b"9" * 9_000 + b"}", "not JSON"),
    ],
)
def test_false_answers(ends: Ends, sent: bytes, message: str) -> None:
    ends.other.sendall(sent)
    with pytest.raises(ChannelError, match=message):
        ends.parent.receive(1, soon())


def test_a_number_is_an_answer(ends: Ends) -> None:
    for value, dtype in ((0.1, "float32"), (-2.0, ""), (float("inf"), "bfloat16")):
        ends.other.sendall(encode(1, number_body(value, dtype)))
        assert ends.parent.receive(1, soon()) == {"value": value, "dtype": dtype}
    ends.other.sendall(encode(1, number_body(1.0, "")[:-8] + b"\xff" * 8))
    assert ends.parent.receive(1, soon())["dtype"] == "\ufffd" * 8


def test_silence_and_end(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends.parent.receive(1, soon())
    with pytest.raises(TimeoutError):  # nobody reads
        ends.parent.send(1, {"text": "x" * 10_000_000}, soon())
    ends.other.close()
    with pytest.raises(ChannelClosed):
        ends.parent.receive(1, soon())
    with pytest.raises(ChannelClosed):
        ends.parent.send(1, {}, soon())


def test_output_is_read_while_waiting_and_only_its_end_kept(ends: Ends) -> None:
    os.set_blocking(ends.output, False)
    os.write(ends.output, b"x" * 60_000 + b"the end")
    with pytest.raises(TimeoutError):
        ends.parent.receive(1, soon())
    assert os.write(ends.output, b"y" * 60_000) == 60_000  # there is room again
    assert ends.parent.output_tail() == "y" * 4096


def test_descriptors_arrive_with_their_frame() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    parent, child = ParentChannel(ours, reading, lambda: None, 1000), ChildChannel(theirs)
    arena, descriptor = Arena.create(4096)
    parent.send(7, {"op": "arena"}, soon(), (descriptor,))
    assert child.receive() == (7, {"op": "arena"})
    (received,) = child.descriptors
    same = Arena(received, 4096)
    same.memory[:5] = b"hello"
    assert arena.memory[:5] == b"hello"
    for change in (lambda: os.ftruncate(received, 0), lambda: os.ftruncate(received, 8192)):
        with pytest.raises(PermissionError):
            change()
    child.send(7, {"text": "x" * 500})
    assert parent.receive(7, soon()) == {"text": "x" * 500}
    parent.close()
    theirs.close()
    for each in (descriptor, received, writing):
        os.close(each)


OFFER = {
    "kind": "loss", "name": "x", "summary": "", "line": 1, "signature": "()", "call": "()", "accepts": [],
    "is_factory": True, "attributes": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 1},
        {"line": True},
        {"accepts": "weights"},
        {"accepts": [1]},
        {"attributes": {"a": []}},
        {"more": 1},
    ],
)
def test_offers_are_checked(change: dict[str, Any]) -> None:
    parse_offer(OFFER, lambda *_: print, 0)
    with pytest.raises(ValueError, match=r"where|agreed|attribute"):
        parse_offer({**OFFER, **change}, lambda *_: print, 0)


def test_text_of_a_plugin_is_safe_to_print() -> None:
    assert plain("a\x1b]0;x\x07\u202eb\r\n\u00e9") == "a\ufffd]0;x\ufffd\ufffdb\ufffd\n\u00e9"
    assert len(plain("x" * 10_000, 100)) < 110
