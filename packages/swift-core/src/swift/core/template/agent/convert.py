"""Rows with tools to plain turns of an agent format, which any chat template renders.

A plain turn keeps what the template layer needs beside role and content: "call_text", the part of an
assistant's content that is its calls, and "was": "tool" on the turn that gives results. Neither is shown to
the chat template.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from swift.core.errors import DataError
from swift.core.template.agent.format import AgentFormat, Tool, ToolCall
from swift.core.types import Conversation, Message


def plain_conversation(
    row: Conversation, agent: AgentFormat, shows_system: Callable[[], bool]
) -> Conversation:
    """The row without tools, calls and results; a row that has none is returned as it is.

    Args:
        shows_system: whether the chat template shows a system turn.

    Raises:
        DataError: a turn has content that the format cannot take.
    """
    rejected = row.rejected or []
    if not row.tools and not any(map(_is_agentic, itertools.chain(row.messages, rejected))):
        return row
    chosen, other = (
        plain_messages(
            turns, row.tools, agent, origin=row.origin, system_turn=not row.tools or shows_system()
        )
        for turns in (row.messages, rejected)
    )
    return replace(row, messages=chosen, rejected=other or row.rejected, tools=None)


def plain_messages(
    messages: Sequence[Message],
    tools: Sequence[Tool] | None,
    agent: AgentFormat,
    *,
    origin: str = "messages",
    system_turn: bool = True,
) -> list[Message]:
    """Turns with tool calls and results to plain turns, the tools in the system turn.

    Args:
        origin: what errors call the conversation.
        system_turn: offer the tools in the system turn; False: before the text of the first user turn, for
            chat templates that refuse a system turn (Gemma) or leave it out of answered ones (Mistral).

    Raises:
        DataError: a turn has content that the format cannot take.
    """
    turns: list[Message] = []
    asked: list[ToolCall] = []
    for is_result, group in itertools.groupby(messages, lambda message: message["role"] == "tool"):
        found = list(group)
        if is_result:
            results = [_result(message, origin) for message in _in_order(found, asked)]
            turns.append({**agent.results(results), "was": "tool"})
        else:
            turns += [_plain_turn(message, agent) for message in found]
            asked = found[-1].get("tool_calls") or []
    if not tools or not turns:
        return turns
    offered = _offered(turns, tools, agent, origin)
    return offered if system_turn else _folded(offered)


def _is_agentic(message: Message) -> bool:
    return message["role"] == "tool" or "tool_calls" in message


def _in_order(results: list[Message], asked: list[ToolCall]) -> list[Message]:
    """Results in the order of their calls, for formats without ids."""
    places = {call["id"]: place for place, call in enumerate(asked) if "id" in call}
    if not all(result.get("tool_call_id") in places for result in results):
        return results
    return sorted(results, key=lambda result: places[result["tool_call_id"]])


def _result(message: Message, origin: str) -> Message:
    return {**message, "content": _text(message["content"], "the result of a tool", origin)}


def _plain_turn(message: Message, agent: AgentFormat) -> Message:
    calls = message.get("tool_calls")
    if not calls:
        return message
    plain = {key: value for key, value in message.items() if key != "tool_calls"}
    plain["call_text"] = agent.calls(calls, "")
    content = message["content"]
    if isinstance(content, str):
        plain["content"] = agent.calls(calls, content)
    else:
        plain["content"] = [*content, {"type": "text", "text": plain["call_text"]}]
    return plain


def _offered(turns: list[Message], tools: Sequence[Tool], agent: AgentFormat, origin: str) -> list[Message]:
    """The turns with the tools in their system turn."""
    has_system = bool(turns) and turns[0]["role"] == "system"
    before = _text(turns[0]["content"], "the system turn", origin) if has_system else ""
    system: Message = {"role": "system", "content": agent.system(tools, before)}
    return [system, *(turns[1:] if has_system else turns)]


def _folded(turns: list[Message]) -> list[Message]:
    """The system text before that of the first user turn."""
    system, *rest = turns
    place = next((index for index, turn in enumerate(rest) if turn["role"] == "user"), None)
    if place is None:
        return turns
    content, before = rest[place]["content"], f"{system['content']}\n\n"
    folded = before + content if isinstance(content, str) else [{"type": "text", "text": before}, *content]
    return [*rest[:place], {**rest[place], "content": folded}, *rest[place + 1 :]]


def _text(content: Any, what: str, origin: str) -> str:
    if isinstance(content, str):
        return content
    if not all(part.get("type") == "text" for part in content):
        raise DataError(
            f"{origin}: {what} holds more than text, and data.agent_format writes text",
            "leave data.agent_format out: the model's own chat template may know how",
        )
    return "".join(part["text"] for part in content)
