"""What the entry points of the agent formats name."""

from __future__ import annotations

from swift.core.registry import Component

_HERE = "swift.core.template.agent"

hermes = Component(
    "hermes", f"{_HERE}.hermes:Hermes", summary="<tool_call> around JSON: Hermes, Qwen2.5, Qwen3"
)
react = Component("react", f"{_HERE}.react:ReAct", summary="Thought, Action, Action Input, Observation")
qwen = Component("qwen", f"{_HERE}.qwen:Qwen", summary="the commands of Qwen-Agent: Qwen2 and before")
llama3 = Component(
    "llama3", f"{_HERE}.llama3:Llama3", summary="bare JSON with name and parameters: Llama 3.1+"
)
mistral = Component("mistral", f"{_HERE}.mistral:Mistral", summary="[TOOL_CALLS] and a JSON list: Mistral")
glm = Component("glm", f"{_HERE}.glm:GLM", summary="keys and values in tags: GLM 4.5+")
deepseek = Component(
    "deepseek", f"{_HERE}.deepseek:DeepSeek", summary="calls between special tokens: DeepSeek V3.1"
)
