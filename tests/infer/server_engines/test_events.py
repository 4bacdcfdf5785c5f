"""Server-sent events in any cut, and stop strings in any cut."""

from __future__ import annotations

import random

import pytest

from swift.infer.engines.http import events
from swift.infer.engines.http.events import EventDecoder, EventTooLong
from swift.infer.engines.http.stop_strings import StopStrings

STREAM = (
    ": a comment\r\n\r\n"
    'data: {"text": "grüße 你好 🙂"}\n\n'
    "event: piece\nid: 7\ndata:no space\r\n\r\n"
    "retry: 10\ndata: two\ndata: lines\n\n"
    "\n\n"
    "data\n\n"
    "data: alone\r\rdata: [DONE]\n\n"
    "data: never ended\n"
).encode()
EXPECTED = ['{"text": "grüße 你好 🙂"}', "no space", "two\nlines", "", "alone", "[DONE]"]


@pytest.mark.parametrize("seed", range(30))
def test_any_cut_gives_the_same_events(seed: int) -> None:
    draw, decoder, found, rest = random.Random(seed), EventDecoder(), [], STREAM
    while rest:
        size = draw.choice((1, 2, 3, 17, 400))
        found += decoder.feed(rest[:size])
        rest = rest[size:]
    assert found == EXPECTED


def test_invalid_utf8_is_replaced_not_fatal() -> None:
    assert EventDecoder().feed(b"data: \xff\xfe ok\n\n") == ["\ufffd\ufffd ok"]


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST", 100)
    decoder = EventDecoder()
    with pytest.raises(EventTooLong):
        for _ in range(20):
            decoder.feed(b"x" * 10)


@pytest.mark.parametrize("seed", range(30))
def test_stop_strings_in_any_cut(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choice("ab<>/") for _ in range(40))
    stops = ("</", "aab", "<a>b")
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    expected = text[: min(ends)] if ends else text
    stopper, shown, rest = StopStrings(stops), "", text
    while rest:
        size = draw.choice((1, 2, 5))
        shown += stopper.push(rest[:size])
        assert expected.startswith(shown)
        rest = rest[size:]
    assert stopper.found is bool(ends)
    assert shown + stopper.rest() == expected
