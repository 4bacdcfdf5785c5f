"""A grammar of calls: what tool_choice required, or a named function, makes of an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import xgrammar

from swift.core.errors import ConfigError, DataError
from swift.core.template.agent.format import AgentFormat, Tool, function_of
from swift.core.types import Constraint
from swift.infer.constraints import check
from swift.infer.server.tools.syntax import CallSyntax, call_syntax

ANY_OBJECT: dict[str, Any] = {"type": "object"}


def calls_constraint(agent: AgentFormat, tools: Sequence[Tool], *, several: bool) -> Constraint:
    """Calls of these tools, with arguments that match their schemas, and nothing else.

    Args:
        several: allow more than one call.

    Raises:
        ConfigError: the format writes arguments in a way of its own.
        DataError: a schema that cannot be enforced.
    """
    functions = [function_of(tool) for tool in tools]
    for function in functions:
        check(Constraint("json_schema", json.dumps(function.get("parameters") or ANY_OBJECT)))
    syntax = call_syntax(agent)
    if syntax is None:
        raise ConfigError(
            f"the agent format {type(agent).__name__} writes arguments without JSON, "
            "so that calls cannot be enforced",
            "leave tool_choice at auto",
        )
    tag = {
        "type": "structural_tag",
        "format": _format(syntax, [function_of(tool) for tool in tools], several),
    }
    try:
        grammar = xgrammar.Grammar.from_structural_tag(tag)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"the parameters of a tool cannot be enforced: {error}") from error
    return Constraint("grammar", str(grammar))


def _format(syntax: CallSyntax, functions: Sequence[dict[str, Any]], several: bool) -> dict[str, Any]:
    """xgrammar's structural tag: an opening call, further ones, the closing."""
    further = {"type": "star", "content": _any_call(syntax.between, functions)}
    close = {"type": "const_string", "value": syntax.close}
    first = _any_call(syntax.opening, functions)
    parts = [first, *([further] if several else []), *([close] if syntax.close else [])]
    return {"type": "sequence", "elements": parts}


def _any_call(halves: tuple[str, str], functions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One of the functions: what stands before its arguments, then those."""
    calls = [
        {
            "type": "sequence",
            "elements": [
                {"type": "const_string", "value": function["name"].join(halves)},
                {"type": "json_schema", "json_schema": function.get("parameters") or ANY_OBJECT},
            ],
        }
        for function in functions
    ]
    return calls[0] if len(calls) == 1 else {"type": "or", "elements": calls}
