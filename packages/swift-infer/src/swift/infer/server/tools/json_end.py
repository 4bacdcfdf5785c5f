"""Where a JSON object ends that comes in pieces."""

from __future__ import annotations

import re

_MARKS = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


class JsonEnd:
    """Follows brackets and strings.

    Attributes:
        done: the object has ended.
    """

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str, start: int) -> int:
        """Read on; the place behind the object's end, or the end of the text."""
        at = start
        if self._escaped and at < len(text):
            at, self._escaped = at + 1, False
        while match := (_IN_STRING if self._in_string else _MARKS).search(text, at):
            at = match.end()
            if match[0] == "\\":
                if at == len(text):
                    self._escaped = True
                at = min(at + 1, len(text))
            elif match[0] == '"':
                self._in_string = not self._in_string
            elif self._leaves(match[0]):
                return at
        return len(text)

    def _leaves(self, bracket: str) -> bool:
        self._depth += 1 if bracket in "{[" else -1
        self.done = self._depth <= 0
        return self.done
