"""Pairs: chosen and rejected as text, a turn, turns, or whole transcripts."""

from __future__ import annotations

from typing import Any

from swift.core.data.formats.chat import openai, sharegpt
from swift.core.data.formats.prompt import PROMPTS, first_of, prompt_messages
from swift.core.data.formats.turns import messages_from, transcript
from swift.core.errors import DataError
from swift.core.types import Conversation, Message


def preference(row: dict[str, Any], origin: str) -> Conversation:
    """chosen and rejected, after a prompt, conversations or messages column, or with their own context.

    Raises:
        DataError: an answer alone without any context, or a pair that answers different prompts.
    """
    context = _context(row, origin)
    return Conversation(
        messages=_complete(row["chosen"], context, "chosen", origin),
        rejected=_complete(row["rejected"], context, "rejected", origin),
    )


def _context(row: dict[str, Any], origin: str) -> list[Message]:
    if row.get("messages") is not None:
        return openai(row, origin).messages
    if row.get("conversations") is not None or row.get("conversation") is not None:
        return sharegpt(row, origin).messages
    return prompt_messages(row, origin) if first_of(row, PROMPTS) else []


def _complete(answer: Any, context: list[Message], column: str, origin: str) -> list[Message]:
    """The whole conversation that ends in this answer."""
    if isinstance(answer, str):
        turns = transcript(answer) if answer.startswith("\n\nHuman:") else None
        if turns:
            return turns
        turns = [{"role": "assistant", "content": answer}]
    else:
        turns = messages_from(answer, origin)
    if turns[0]["role"] != "assistant":
        return turns  # it carries its own context
    if not context:
        raise DataError(
            f"{origin}: {column!r} is an answer without a question",
            "add a prompt, conversations or messages column, or write whole transcripts",
        )
    return [*context, *turns]
