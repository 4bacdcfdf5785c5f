"""Where tools stand in a rendered conversation, found by rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swift.core.types import Message

if TYPE_CHECKING:
    from swift.core.template.render import Renderer, Span

MARK = "\ue0f3\ue0f4"  # private use: no text begins or ends with it
_NAME = "swift_probe"
_ARGUMENTS = {"probe": True}


@dataclass(frozen=True)
class ToolSupport:
    """What a chat template makes of tools; most templates of models without tools drop them silently.

    Attributes:
        text_arguments: arguments have to be JSON text (DeepSeek V3), not an object.
        offers, calls, worded_calls: whether it shows tools, calls, and calls beside content.
    """

    text_arguments: bool
    offers: bool
    calls: bool
    worded_calls: bool


def has_tools(messages: Sequence[Message], tools: Sequence[dict[str, Any]] | None) -> bool:
    """Whether tools are offered, called or answered."""
    return bool(tools) or any("tool_calls" in each or each["role"] == "tool" for each in messages)


def probe_support(try_render: Callable[[list[Message], Any], str | None]) -> ToolSupport:
    """Render a call that no row has.

    Args:
        try_render: (messages, tools) -> text, or None where the template refuses them.
    """
    tool = {"type": "function", "function": {"name": _NAME, "description": "", "parameters": {}}}
    as_object = try_render(_turns("", _ARGUMENTS), None)
    text_arguments = as_object is None or str(_ARGUMENTS) in as_object
    arguments: Any = '{"probe": true}' if text_arguments else _ARGUMENTS
    calls, worded = (try_render(_turns(words, arguments), None) for words in ("", "One moment."))
    offers = try_render([{"role": "user", "content": "?"}], [tool])
    return ToolSupport(
        text_arguments and calls is not None,
        *(text is None or _NAME in text for text in (offers, calls, worded)),
    )


def _turns(words: str, arguments: Any) -> list[Message]:
    call = {"type": "function", "function": {"name": _NAME, "arguments": arguments}, "id": "swiftprob"}
    return [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": words, "tool_calls": [call]},
    ]


def dropped(support: ToolSupport, messages: Sequence[Message], tools: Any) -> str | None:
    """What of these messages the template would leave out, in words; None for nothing."""
    if tools and not support.offers:
        return "the tools"
    calling = [message for message in messages if message.get("tool_calls")]
    if calling and not support.calls:
        return "tool calls"
    if not support.worded_calls and any(message["content"] for message in calling):
        return "the tool calls of a turn that also has content"
    return None


def call_region(
    renderer: Renderer, text: str, messages: Sequence[Message], index: int, tools: Any
) -> Span | None:
    """The characters that a turn's calls add, seen beside the turn without its calls.

    None where the template refuses the turn without its calls, or renders it in another way.
    """
    without = {key: value for key, value in messages[index].items() if key != "tool_calls"}
    turns = [*messages[:index], marked(without, after=MARK), *messages[index + 1 :]]
    other = renderer.try_render(turns, tools) or ""
    place = other.find(MARK)
    rest = other[place + len(MARK) :]
    if place < 0 or not text.endswith(rest):
        return None
    end = len(text) - len(rest)
    return _common(text[:end], other[:place]), end


def _common(first: str, second: str) -> int:
    """Characters that both begin with."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # first[:low] == second[:low] always holds
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def result_ends(renderer: Renderer, messages: Sequence[Message], tools: Any) -> list[int]:
    """Where each tool result ends in the text of these messages."""
    turns = [marked(message, after=MARK) if message["role"] == "tool" else message for message in messages]
    text = renderer.try_render(turns, tools) or ""
    places: list[int] = []
    place = text.find(MARK)
    while place >= 0:
        places.append(place - len(places) * len(MARK))
        place = text.find(MARK, place + len(MARK))
    return places


def marked(message: Message, *, before: str = "", after: str = "") -> Message:
    """The message with a mark before or after its text."""
    content = message["content"]
    if isinstance(content, str):
        content = before + content + after
    else:
        mark = {"type": "text", "text": before or after}
        content = [mark, *content] if before else [*content, mark]
    return {**message, "content": content}
