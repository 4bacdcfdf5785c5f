"""Leave the thinking out of the loss."""

from __future__ import annotations

from collections.abc import Iterator

from swift.core.errors import ConfigError
from swift.core.template.loss_scale.pieces import Pieces, covered
from swift.core.types import Message


class IgnoreThinking:
    """Weight 0 from <think> to </think> and on the white space behind it.

    A template may put <think> into the prompt: then the thinking begins with the text. Thinking without an
    end reaches to the end of the text.

    Args:
        only_empty: only blocks with nothing in them, as templates add them where a row has no thinking.
        start, end: what thinking lies between.
    """

    def __init__(self, *, only_empty: bool = False, start: str = "<think>", end: str = "</think>") -> None:
        if not start or not end:
            raise ConfigError(
                f"data.loss_scale 'ignore_thinking' has start={start!r} and end={end!r}",
                "neither can be empty",
            )
        self.only_empty = only_empty
        self.start = start
        self.end = end

    def __call__(self, message: Message, text: str) -> Pieces:
        """The text with its thinking at weight 0."""
        return covered(text, list(self._blocks(text)), 0.0)

    def _blocks(self, text: str) -> Iterator[tuple[int, int]]:
        position = 0
        while True:
            start, close = text.find(self.start, position), text.find(self.end, position)
            if position == 0 and close >= 0 and not 0 <= start < close:
                inside, start = text[:close], 0  # begun in the prompt
            elif start < 0:
                return
            else:
                inside = text[start + len(self.start) : close if close >= 0 else len(text)]
            after = close + len(self.end) if close >= 0 else len(text)
            end = len(text) - len(text[after:].lstrip())
            if not self.only_empty or not inside.strip():
                yield start, end
            position = end
            if position >= len(text):
                return
