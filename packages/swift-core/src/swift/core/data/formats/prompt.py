"""Instruction, prompt and plain-text layouts: what does not come as a list of turns."""

from __future__ import annotations

from typing import Any

from swift.core.data.formats.turns import messages_from, transcript
from swift.core.errors import DataError
from swift.core.types import Conversation, Message

PROMPTS = ("prompt", "query", "question", "problem", "instruction", "input")
RESPONSES = ("response", "completion", "answer", "output", "solution", "reply")
CONTEXTS = ("input", "context")


def first_of(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of these columns that the row fills."""
    return next((name for name in names if row.get(name) is not None), None)


def alpaca(row: dict[str, Any], origin: str) -> Conversation:
    """instruction, optional input, output, history of (instruction, output) pairs, system."""
    messages = _system(row)
    for pair in row.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"{origin}: history holds {pair!r}", "write pairs [instruction, output]")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    messages.append({"role": "user", "content": _instruction(row)})
    messages.append({"role": "assistant", "content": _text(row["output"], "output", origin)})
    return Conversation(messages=messages)


def prompt_response(row: dict[str, Any], origin: str) -> Conversation:
    """One prompt column and one response column; each is text or turns."""
    conversation = prompt_only(row, origin)
    name = first_of(row, RESPONSES)
    assert name is not None  # the recogniser saw it
    response = row[name]
    if isinstance(response, list | dict):
        conversation.messages += messages_from(response, origin)
    else:
        conversation.messages.append({"role": "assistant", "content": _text(response, name, origin)})
    return conversation


def prompt_only(row: dict[str, Any], origin: str) -> Conversation:
    """A prompt to be continued: text, a Human/Assistant transcript, or turns."""
    return Conversation(messages=prompt_messages(row, origin))


def prompt_messages(row: dict[str, Any], origin: str) -> list[Message]:
    """The turns before the answer."""
    name = first_of(row, PROMPTS)
    assert name is not None  # the recogniser saw it
    prompt = row[name]
    if isinstance(prompt, list | dict):
        return _system(row) + messages_from(prompt, origin)
    if name == "instruction":
        prompt = _instruction(row)
    said = _text(prompt, name, origin)
    turns = transcript(said) if "\n\nHuman:" in said else None
    if turns and turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    return _system(row) + (turns or [{"role": "user", "content": said}])


def plain_text(row: dict[str, Any], origin: str) -> Conversation:
    """Text to be continued as it stands."""
    return Conversation(text=_text(row["text"], "text", origin))


def _system(row: dict[str, Any]) -> list[Message]:
    system = row.get("system")
    return [{"role": "system", "content": system}] if system else []


def _instruction(row: dict[str, Any]) -> str:
    more = first_of(row, CONTEXTS)
    pieces = (row["instruction"], row[more] if more else "")
    return "\n".join(str(piece) for piece in pieces if piece)


def _text(value: Any, column: str, origin: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise DataError(f"{origin}: column {column!r} holds a {type(value).__name__}", "it must hold text")
