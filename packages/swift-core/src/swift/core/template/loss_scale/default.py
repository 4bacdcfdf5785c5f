"""Every learned turn counts alike."""

from __future__ import annotations

from swift.core.types import Message


def default(message: Message, text: str) -> float:
    """1 for every assistant turn; data.loss_turns chooses among the turns."""
    return 1.0


def everything(message: Message, text: str) -> float:
    """1; registered with scope "conversation", so that prompts, roles and special tokens are learned too."""
    return 1.0
