"""Weigh tool calls more, or less, than what is said beside them."""

from __future__ import annotations

from swift.core.template.loss_scale.check import checked_weight
from swift.core.template.loss_scale.pieces import Pieces, covered
from swift.core.types import Message


class ToolCalls:
    """The rendered calls of a turn, in whichever format, at another weight.

    Args:
        weight: factor of their tokens' losses.
    """

    def __init__(self, *, weight: float = 2.0) -> None:
        self.weight = checked_weight(weight, "tool_calls", "weight")

    def __call__(self, message: Message, text: str) -> Pieces:
        """The text with its calls at the weight."""
        calls = message["call_text"].strip()
        start = text.rfind(calls) if calls else -1
        return covered(text, [(start, start + len(calls))] if start >= 0 else [], self.weight)
