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
        null_content: a calling turn without words has to have None as content (DeepSeek R1), not "".
        offers, calls, worded_calls: whether it shows tools, calls, and calls beside content.
    """

    text_arguments: bool
    null_content: bool
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

    def shown(turns: list[Message], tools: Any = None) -> bool | None:
        text = try_render(turns, tools)
        return None if text is None else _NAME in text and str(_ARGUMENTS) not in text

    ways: list[tuple[Any, str | None]] = [
        (arguments, words) for words in ("", None) for arguments in (_ARGUMENTS, '{"probe": true}')
    ]
    arguments, words = next((way for way in ways if shown(_turns(*way))), ways[0])
    return ToolSupport(
        text_arguments=isinstance(arguments, str),
        null_content=words is None,
        offers=shown([{"role": "user", "content": "?"}], [tool]) is not False,
        calls=shown(_turns(arguments, words)) is not False,
        worded_calls=shown(_turns(arguments, "One moment.")) is not False,
    )


def _turns(arguments: Any, words: str | None) -> list[Message]:
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

    None where the template refuses the turn without its calls, or renders what follows in another way.
    """
    region = _added(renderer, text, messages, index, tools)
    if region is None and index < len(messages) - 1:
        until = renderer.try_render(messages[: index + 1], tools)
        if until is not None and text.startswith(until):
            return _added(renderer, until, messages[: index + 1], index, tools)
    return region


def _added(renderer: Renderer, text: str, messages: Sequence[Message], index: int, tools: Any) -> Span | None:
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
