"""Server-sent events from bytes that are cut anywhere (WHATWG HTML standard, section 9.2)."""

from __future__ import annotations

import re

LONGEST = 64 * 2**20  # bytes of one line; a server that sends more without a line end is broken
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a last \r may be the first half of \r\n


class EventTooLong(ValueError):
    """A line longer than LONGEST."""


class EventDecoder:
    """Bytes in, the data of complete events out; comments and fields other than data are skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Data of the events that this chunk completes.

        Raises:
            EventTooLong: a line does not end.
        """
        buffer = self._rest + chunk
        start, events = 0, []
        for end in _LINE_END.finditer(buffer):
            event = self._line(buffer[start : end.start()])
            if event is not None:
                events.append(event)
            start = end.end()
        self._rest = buffer[start:]
        if len(self._rest) > LONGEST:
            raise EventTooLong(f"a line of more than {LONGEST} bytes")
        return events

    def _line(self, line: bytes) -> str | None:
        """Take a line; the data of the event when it is the empty one that ends it."""
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
            return None
        data, self._data = self._data, []
        return "\n".join(data) if data else None
