"""GLM 4.5 and later: a call is a name with keys and values in tags."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from swift.core.template.agent.format import (
    AgentFormat,
    Tool,
    ToolCall,
    dumps,
    function_of,
    joined,
    make_call,
    split_calls,
    user_turn,
)
from swift.core.types import Message

_OFFER = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_USAGE = (
    "\n</tools>\n\nFor each function call, output the function name and arguments within the following XML "
    "format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n"
    "<arg_value>{arg-value-1}</arg_value>\n<arg_key>{arg-key-2}</arg_key>\n"
    "<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>"
)
_PAIR = r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>"
_OPENING = re.compile(rf"<tool_call>\s*([\w.:/-]+)\s*((?:{_PAIR}\s*)*)</tool_call>", re.DOTALL)
_PAIRS = re.compile(_PAIR, re.DOTALL)


class GLM(AgentFormat):
    """The wording is that of the GLM 4.5 chat template.

    Texts stand as they are and other values as JSON, so the text "5" and the number 5 look alike: parse()
    asks the schema of the tool, and without tools takes a value for JSON where it can be.
    """

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """The tools as JSON lines, before what the system turn says."""
        offer = _OFFER + "\n".join(map(dumps, tools)) + _USAGE
        return joined(offer, system, "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """A block a call."""
        return joined(content, "\n".join(map(_block, tool_calls)))

    def results(self, results: Sequence[Message]) -> Message:
        """A block a result."""
        blocks = [f"<tool_response>\n{result['content']}\n</tool_response>" for result in results]
        return user_turn("\n".join(blocks))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Calls out of their blocks."""
        texts = {function_of(tool)["name"]: _texts(tool) for tool in tools or ()}

        def read(_: str, match: re.Match[str]) -> tuple[list[ToolCall], int]:
            known = texts.get(match[1])
            arguments = {
                key.strip(): _value(value, None if known is None else key.strip() in known)
                for key, value in _PAIRS.findall(match[2])
            }
            return [make_call(match[1], arguments)], match.end()

        return split_calls(text, _OPENING, read)


def _block(call: ToolCall) -> str:
    function = function_of(call)
    written = {
        key: value if isinstance(value, str) else dumps(value) for key, value in function["arguments"].items()
    }
    pairs = [f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in written.items()]
    return f"<tool_call>{function['name']}\n{''.join(pairs)}</tool_call>"


def _texts(tool: Tool) -> set[str]:
    """The parameters of a tool that are texts."""
    properties = (function_of(tool).get("parameters") or {}).get("properties") or {}
    return {
        name
        for name, schema in properties.items()
        if isinstance(schema, dict) and schema.get("type") == "string"
    }


def _value(written: str, is_text: bool | None) -> Any:
    if is_text:
        return written
    try:
        value = json.loads(written)
    except ValueError:
        return written
    return written if isinstance(value, str) else value
