"""Learn what follows the last user turn."""

from __future__ import annotations

from swift.core.types import Message


def last_round(message: Message, text: str) -> float:
    """1 where no user turn follows, else 0.

    That is every step of the last round, tool calls included; data.loss_turns=last is its last turn alone. A
    turn's own "loss" goes before.
    """
    return 1.0 if message["last_round"] or "loss" in message else 0.0
