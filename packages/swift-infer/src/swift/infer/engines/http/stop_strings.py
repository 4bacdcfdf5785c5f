"""Stop strings in a text that comes in pieces, for servers that do not cut them out of a stream."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Shows text up to the first stop string, and holds back what may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that is certainly shown; empty once a stop string was found."""
        if self.found:
            return ""
        whole = self._held + text
        starts = [at for stop in self._stops if (at := whole.find(stop)) >= 0]
        if starts:
            self.found, self._held = True, ""
            return whole[: min(starts)]
        shown = len(whole) - max((overlap(whole, stop) for stop in self._stops), default=0)
        self._held = whole[shown:]
        return whole[:shown]

    def rest(self) -> str:
        """What was held back; the text has ended."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of a text that begins a stop string."""
    most = min(len(text), len(stop) - 1)
    return next((size for size in range(most, 0, -1) if stop.startswith(text[-size:])), 0)
