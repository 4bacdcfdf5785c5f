"""Which texts a row asks for, and which of their turns are learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swift.core.errors import DataError
from swift.core.types import Conversation, Message, Task

LossTurns = Literal["all", "last"]


@dataclass(slots=True)
class Request:
    """One text to be rendered and tokenised.

    Attributes:
        messages: the turns; empty for plain text.
        learn: [len(messages)] which turns are supervised; a number other than 0 and 1 is the turn's weight.
        generation_prompt: end with the header of an assistant turn.
        whole: every token is supervised.
        text: plain text instead of turns, with the special tokens that the tokenizer itself adds.
    """

    conversation: Conversation
    messages: list[Message]
    learn: tuple[float, ...]
    generation_prompt: bool = False
    whole: bool = False
    text: str | None = None

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        return self.conversation.tools


def requests_of(conversation: Conversation, task: Task, loss_turns: LossTurns) -> list[Request]:
    """One request, or two (chosen, rejected) for a preference row.

    Raises:
        DataError: the row lacks what the task needs.
    """
    if task == "text":
        turns = [] if conversation.text is not None else _turns(conversation, task)
        return [Request(conversation, turns, (False,) * len(turns), whole=True)]
    messages = _turns(conversation, task)
    if task == "prompt":
        prompt = messages[: last_assistant(messages)]
        if not prompt:
            raise DataError(f"{conversation.origin}: nothing comes before the answer", "add a user turn")
        return [Request(conversation, prompt, (False,) * len(prompt), generation_prompt=True)]
    if task == "preference":
        return _pair(conversation, messages)
    if conversation.label is False:
        raise DataError(
            f"{conversation.origin}: the answer is marked undesirable (label: false), and would be learned",
            "set data.on_error=skip to learn from the other rows only, or drop the column",
        )
    return [Request(conversation, messages, _learned(conversation, messages, loss_turns))]


def _turns(conversation: Conversation, task: Task) -> list[Message]:
    if conversation.messages:
        return conversation.messages
    if conversation.text is not None:
        raise DataError(
            f"{conversation.origin}: the row is plain text, but task_type {task!r} needs turns",
            "train on plain text with stage pt (data.task_type=text), or use rows with messages",
        )
    raise DataError(f"{conversation.origin}: the row has no messages", "remove the row or fill it")


def last_assistant(messages: Sequence[Message]) -> int:
    """Index of the last assistant turn, or the number of messages when there is none."""
    places = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    return places[-1] if places else len(messages)


def _learned(
    conversation: Conversation, messages: Sequence[Message], loss_turns: LossTurns, first: int = 0
) -> tuple[float, ...]:
    last = last_assistant(messages)
    if last == len(messages) and messages[-1]["role"] != "assistant":
        raise DataError(
            f"{conversation.origin}: no assistant turn, so there is nothing to learn; roles: "
            + ", ".join(message["role"] for message in messages),
            "add an answer, or remove the row",
        )
    start = max(first, last if loss_turns == "last" else 0)
    learn = tuple(
        [
            message.get("loss", index >= start) if message["role"] == "assistant" else False
            for index, message in enumerate(messages)
        ]
    )
    if not any(learn):
        raise DataError(
            f"{conversation.origin}: no turn is learned",
            'give at least one assistant turn "loss": true',
        )
    return learn


def _pair(conversation: Conversation, chosen: list[Message]) -> list[Request]:
    """Both answers; only what comes after the turns that they share is learned."""
    rejected = conversation.rejected
    if not rejected:
        raise DataError(
            f"{conversation.origin}: the row has no rejected answer",
            "preference data needs chosen and rejected",
        )
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if shared in (len(chosen), len(rejected)):
        raise DataError(f"{conversation.origin}: chosen and rejected do not differ", "remove the row")
    return [
        Request(conversation, turns, _learned(conversation, turns, "all", shared))
        for turns in (chosen, rejected)
    ]
