"""The tools of a row: what is offered, called and answered."""

from __future__ import annotations

import itertools
from typing import Any

from swift.core.data.formats.cells import parse_json, shortened
from swift.core.errors import DataError, did_you_mean
from swift.core.types import Message


def tools_from(value: Any, origin: str) -> list[dict[str, Any]] | None:
    """The tools column: JSON text or a list of schemas, with or without the {"type": "function"} wrapper."""
    if isinstance(value, str):
        value = parse_json(value, "tools column", origin) if value.strip() else None
    if not value:
        return None
    tools = value if isinstance(value, list) else [value]
    return [_tool(tool, origin) for tool in tools]


def _tool(tool: Any, origin: str) -> dict[str, Any]:
    if isinstance(tool, str):
        tool = parse_json(tool, "tool", origin)
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(
            f"{origin}: the tool {shortened(tool)} has no name",
            'write JSON schemas: {"name": ..., "description": ..., "parameters": {...}}',
        )
    return tool if "function" in tool else {"type": "function", "function": tool}


def call_from(call: Any, origin: str) -> dict[str, Any]:
    """One tool call as OpenAI writes it, its arguments as an object (templates serialise them)."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(
            f"{origin}: the function call {shortened(call)} has no name",
            'write {"name": ..., "arguments": {...}}',
        )
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = parse_json(arguments.strip() or "{}", "arguments of a function call", origin)
    if not isinstance(arguments or {}, dict):
        raise DataError(
            f"{origin}: the arguments of the function call {function['name']!r} are {shortened(arguments)}",
            'write an object, such as {"city": "Rome"}, or its JSON text',
        )
    result: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments or {}},
    }
    if isinstance(call, dict) and call.get("id") is not None:
        result["id"] = call["id"]
    return result


def check_called(messages: list[Message], tools: list[dict[str, Any]], origin: str) -> None:
    """Nobody should learn to call what was not offered.

    Raises:
        DataError: a call of a tool that is not in the row's tools.
    """
    names = [tool["function"]["name"] for tool in tools]
    for message in messages:
        for call in message.get("tool_calls", ()):
            if call["function"]["name"] not in names:
                raise DataError(
                    f"{origin}: the tool {call['function']['name']!r} is called, which is not in tools",
                    did_you_mean(call["function"]["name"], names),
                )


def check_result(messages: list[Message], result: Message, origin: str) -> None:
    """A result answers a call of the assistant turn before it.

    Raises:
        DataError: no assistant turn comes before it, it has another call's id, or the calls are used up.
    """
    results = list(itertools.takewhile(lambda message: message["role"] == "tool", reversed(messages)))
    asked = messages[-len(results) - 1] if len(messages) > len(results) else None
    if asked is None or asked["role"] != "assistant":
        raise DataError(
            f"{origin}: the result {shortened(result['content'])} of a tool follows no call",
            "put it behind the assistant turn that called the tool, or remove it",
        )
    calls = asked.get("tool_calls")
    if calls is None:
        return  # the call is written in the turn's text
    if len(results) >= len(calls):
        raise DataError(
            f"{origin}: {len(results) + 1} results follow {len(calls)} tool calls",
            "write one result for each call",
        )
    ids = [call["id"] for call in calls if "id" in call]
    given = result.get("tool_call_id")
    if given is not None and len(ids) == len(calls) and given not in ids:
        raise DataError(
            f"{origin}: the result of tool_call_id {given!r} follows the calls {', '.join(map(repr, ids))}",
            "give the result the id of its call",
        )
