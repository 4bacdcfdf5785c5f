"""The agent format that a chat template writes calls in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swift.core.errors import RAISED_BY_PLUGINS
from swift.core.registry import agent_formats
from swift.core.template.agent.build import PROBE_TOOL, build_agent_format
from swift.core.template.agent.format import AgentFormat, function_of, make_call
from swift.core.template.render import Renderer
from swift.core.types import Message

USUAL = "hermes"
"""Of templates without tools: the format that most models can be asked to write."""

_ASKED: list[Message] = [{"role": "user", "content": "Find it."}]
_CALL = make_call("look_up", {"word": "naïve 中文", "count": 2}, "swiftprob")


def agent_format_of(renderer: Renderer) -> str:
    """Name of the format whose reader leaves least of a rendered call over; USUAL where none reads it."""
    turn = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    text = renderer.try_render([*_ASKED, turn], [PROBE_TOOL])
    before = renderer.try_render(_ASKED, [PROBE_TOOL])
    if text is None or before is None or not text.startswith(before):
        return USUAL
    found = sorted(_readings(text[len(before) :]))
    return found[0][1] if found else USUAL


def _readings(text: str) -> Iterator[tuple[int, str]]:
    """(characters left over, format) of each format that reads exactly the call."""
    for name in agent_formats:
        try:
            content, calls = build_agent_format(name).parse(text, [PROBE_TOOL])
        except RAISED_BY_PLUGINS:  # a user's format on text that is not its own
            continue
        if [function_of(call) for call in calls] == [function_of(_CALL)]:
            yield len(content), name


def chosen_format(name: str | None, renderer: Renderer) -> AgentFormat:
    """The format of that name, or the one that the template writes.

    Raises:
        RegistryError, PluginError: as build_agent_format().
    """
    agent: Any = build_agent_format(name or agent_format_of(renderer))
    assert isinstance(agent, AgentFormat)
    return agent
