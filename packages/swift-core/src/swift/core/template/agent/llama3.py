"""Llama 3.1 and later: a call is a bare JSON object with name and parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swift.core.template.agent.format import (
    AgentFormat,
    Tool,
    ToolCall,
    decode_object,
    dumps,
    function_of,
    joined,
    make_call,
    skip,
    split_calls,
    user_turn,
)
from swift.core.types import Message

_OFFER = (
    "You have access to the following functions. To call a function, please respond with JSON for a "
    'function call.Respond in the format {"name": function name, "parameters": dictionary of argument name '
    "and its value}.Do not use variables.\n\n"
)
_OPENING = re.compile(r'(?:<\|python_tag\|>)?\{\s*"')
_BETWEEN = re.compile(r";\s*(?=\{)")


class Llama3(AgentFormat):
    """The wording, missing spaces included, is that of the Llama 3.1 chat template.

    That template allows one call a turn; several stand here with "; " between them, as Llama models write
    them and servers read them.
    """

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """The tools as indented JSON, before what the system turn says."""
        return joined(_OFFER + "\n\n".join(dumps(tool, 4) for tool in tools), system, "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """An object a call."""
        blocks = [
            f'{{"name": {dumps(function["name"])}, "parameters": {dumps(function["arguments"])}}}'
            for function in map(function_of, tool_calls)
        ]
        return joined(content, "; ".join(blocks))

    def results(self, results: Sequence[Message]) -> Message:
        """The results as they are, a line each."""
        return user_turn("\n".join(str(result["content"]) for result in results))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Objects that have the keys of a call and no others."""
        return split_calls(text, _OPENING, _read)


def _read(text: str, match: re.Match[str]) -> tuple[list[ToolCall], int] | None:
    found = decode_object(text, text.index("{", match.start()))
    if found is None or found[0].keys() not in ({"name", "parameters"}, {"name", "arguments"}):
        return None
    call, end = found
    arguments = call.get("parameters", call.get("arguments"))
    if not isinstance(call["name"], str) or not isinstance(arguments, dict):
        return None
    return [make_call(call["name"], arguments)], skip(_BETWEEN, text, end)
