"""From the name in data.agent_format to the format, held to its contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SwiftError, in_one_line
from swift.core.registry import Component, agent_formats
from swift.core.template.agent.format import AgentFormat, Tool, function_of, make_call
from swift.plugin.parts import build_component

METHODS = ("system", "calls", "results", "parse")
PROBE_TOOL: Tool = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Find a thing.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}, "count": {"type": "integer"}},
        },
    },
}
PROBE_CALLS = [
    make_call("look_up", {"word": 'naïve "中文"\n{x}', "count": 2}),
    make_call("look_up", {"word": "7", "count": 0}),
]
PROBE_CONTENT = "One moment."


def build_agent_format(name: str) -> AgentFormat:
    """The format of that name.

    Raises:
        RegistryError: unknown name.
        PluginError: a user's format breaks the contract (see format.AgentFormat).
    """
    component = agent_formats.get(name)
    agent: AgentFormat = build_component(agent_formats.kind, component, {})
    if component.place:
        check_agent_format(component, agent)
    return agent


def check_agent_format(component: Component, agent: AgentFormat) -> None:
    """Try a format on one conversation.

    Raises:
        PluginError: a method is missing, fails or returns something else, or calls do not come back.
    """
    described = component.described(agent_formats.kind)
    missing = [method for method in METHODS if not callable(getattr(agent, method, None))]
    if missing:
        raise PluginError(
            f"{described} has no method {missing[0]}()",
            f"a format has {', '.join(f'{method}()' for method in METHODS)}: "
            "see swift.core.template.agent.format.AgentFormat",
        )
    results = [{"role": "tool", "content": "42"}, {"role": "tool", "content": "43"}]

    def held(what: str, attempt: Callable[[], Any], holds: Callable[[Any], bool], expected: str) -> Any:
        seen = _tried(described, what, attempt)
        if not holds(seen):
            raise PluginError(f"{described}: {what} returns {seen!r}", f"it should be {expected}")
        return seen

    held(
        "system(tools, system)",
        lambda: agent.system([PROBE_TOOL], "Be kind."),
        lambda text: isinstance(text, str) and "look_up" in text,
        "a text that names each tool",
    )
    text = held(
        "calls(tool_calls, content)",
        lambda: agent.calls(PROBE_CALLS, PROBE_CONTENT),
        lambda text: isinstance(text, str) and PROBE_CONTENT in text,
        "a text that holds the content",
    )
    held(
        "results(results)",
        lambda: agent.results(results),
        _is_turn,
        "a message with role and content, such as a user turn",
    )
    held(
        "parse(text, tools) of what calls() wrote",
        lambda: agent.parse(text, [PROBE_TOOL]),
        _came_back,
        f"the content and calls that calls() was given: ({PROBE_CONTENT!r}, {PROBE_CALLS})",
    )


def _tried(described: str, what: str, attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except SwiftError:
        raise
    except RAISED_BY_PLUGINS as error:
        raise PluginError(
            f"{described}: {what} fails: {in_one_line(error)}", "correct that method"
        ) from error


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
    )


def _came_back(back: Any) -> bool:
    if (
        not isinstance(back, tuple)
        or len(back) != 2
        or back[0] != PROBE_CONTENT
        or not isinstance(back[1], list)
    ):
        return False
    return [function_of(call) for call in back[1]] == [function_of(call) for call in PROBE_CALLS]
