"""What the entry points of the loss scales name."""

from __future__ import annotations

from swift.core.registry import Component

_HERE = "swift.core.template.loss_scale"

default = Component("default", f"{_HERE}.default:default", summary="every learned turn counts alike")
everything = Component(
    "all",
    f"{_HERE}.default:everything",
    summary="the whole conversation is learned, prompts included",
    attributes=(("scope", "conversation"),),
)
last_round = Component(
    "last_round", f"{_HERE}.last_round:last_round", summary="only what follows the last user turn"
)
ignore_thinking = Component(
    "ignore_thinking", f"{_HERE}.thinking:IgnoreThinking", summary="weight 0 between <think> and </think>"
)
tool_calls = Component("tool_calls", f"{_HERE}.tool_calls:ToolCalls", summary="another weight for tool calls")
regex = Component("regex", f"{_HERE}.regex:Regex", summary="weights by regular expression")
