"""Which characters of a rendered conversation an assistant turn produced.

The header of a turn is what the template adds as generation prompt; the turn ends with the special token
that closes it. Both are found by rendering, never by knowing the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from swift.core.template.render import Rendered, Renderer, RenderError, Span
from swift.core.template.tools import MARK, call_region, marked, result_ends
from swift.core.types import Message


def closing_pattern(special_tokens: Iterable[str]) -> re.Pattern[str]:
    """What may follow a turn's last character and still belongs to it."""
    longest_first = sorted({token for token in special_tokens if token}, key=len, reverse=True)
    return (
        re.compile(r"\s*(?:" + "|".join(map(re.escape, longest_first)) + ")")
        if longest_first
        else re.compile(r"(?!)")
    )


def header_end(
    renderer: Renderer, text: str, before: Sequence[Message], tools: Any, first: int, last: int
) -> int | None:
    """Where the answer after these messages starts: right behind the generation prompt.

    Args:
        text: the whole rendered conversation.
        first, last: the header ends somewhere here.
    """
    header = generation_prompt(renderer, before, tools)
    if not header:
        return None
    prompted = renderer.try_render(before, tools, generation_prompt=True)
    if prompted is not None and first <= len(prompted) <= last and text.startswith(prompted):
        return len(prompted)
    found = text.rfind(header, first, last)
    return found + len(header) if found >= 0 else None


def generation_prompt(renderer: Renderer, before: Sequence[Message], tools: Any) -> str:
    """What the template adds after these messages to make the model answer; often a role header."""
    before = before or [{"role": "user", "content": "?"}]
    plain = renderer.try_render(before, tools)
    prompted = renderer.try_render(before, tools, generation_prompt=True)
    if plain is None or prompted is None or not prompted.startswith(plain):
        return ""
    return prompted[len(plain) :]


def render_with_spans(
    renderer: Renderer,
    messages: Sequence[Message],
    tools: list[dict[str, Any]] | None,
    learn: Sequence[float],
    closing: re.Pattern[str],
) -> Rendered:
    """Render one conversation and find the spans of the turns that are learned.

    Args:
        learn: [len(messages)] whether (or with which weight) each turn is supervised.

    Raises:
        RenderError: the template refuses the messages, or hides where a turn starts or ends.
    """
    text = renderer.render(messages, tools)
    spans: list[Span] = []
    position = 0
    for index, message in enumerate(messages):
        if not learn[index]:
            continue
        end = _turn_end(renderer, text, messages, index, tools, closing, position)
        start = header_end(renderer, text, messages[:index], tools, position, end)
        if start is None:
            start = _content_start(renderer, text, messages, index, tools)
        if start is None or not position <= start <= end:
            raise RenderError(
                f"cannot tell where turn {index + 1} ({message['role']}) starts in the rendered text"
            )
        spans.append((start, end))
        position = end
    _check_results(renderer, messages, tools, spans)
    return Rendered(text, spans)


def _check_results(renderer: Renderer, messages: Sequence[Message], tools: Any, spans: list[Span]) -> None:
    """Some templates put results into the turn that called: nobody should learn to write them."""
    if all(message["role"] != "tool" for message in messages):
        return
    for place in result_ends(renderer, messages, tools):
        if any(start < place <= end for start, end in spans):
            raise RenderError("it puts a tool's result inside an assistant turn, where it would be learned")


def _turn_end(
    renderer: Renderer,
    text: str,
    messages: Sequence[Message],
    index: int,
    tools: Any,
    closing: re.Pattern[str],
    position: int,
) -> int:
    """One past the token that closes a turn; white space that the template puts after it stays out."""
    until = text if index == len(messages) - 1 else renderer.try_render(messages[: index + 1], tools)
    if until is not None and text.startswith(until) and len(until) > position:
        return len(until.rstrip())
    end = _calls_end(renderer, text, messages, index, tools) or _content_end(
        renderer, text, messages, index, tools
    )
    if end is None:
        raise RenderError(
            f"cannot tell where turn {index + 1} ({messages[index]['role']}) ends in the rendered text"
        )
    close = closing.match(text, end)
    return close.end() if close else end


def _calls_end(
    renderer: Renderer, text: str, messages: Sequence[Message], index: int, tools: Any
) -> int | None:
    if not messages[index].get("tool_calls"):
        return None
    region = call_region(renderer, text, messages, index, tools)
    return region[1] if region is not None else None


def _content_end(
    renderer: Renderer, text: str, messages: Sequence[Message], index: int, tools: Any
) -> int | None:
    other = renderer.try_render(_with(messages, index, marked(messages[index], after=MARK)), tools)
    if other is None or MARK not in other:
        return None
    return len(text) - (len(other) - (other.rindex(MARK) + len(MARK)))


def _content_start(
    renderer: Renderer, text: str, messages: Sequence[Message], index: int, tools: Any
) -> int | None:
    other = renderer.try_render(_with(messages, index, marked(messages[index], before=MARK)), tools)
    if messages[index]["content"] and other is not None and MARK in other:
        start = other.index(MARK)
        return start if text.startswith(other[:start]) else None
    calls = messages[index].get("tool_calls")
    region = call_region(renderer, text, messages, index, tools) if calls else None
    if region is not None:
        return region[0]
    before = renderer.try_render(messages[:index], tools)
    return len(before) if before is not None and text.startswith(before) else None


def _with(messages: Sequence[Message], index: int, message: Message) -> list[Message]:
    """The messages with another one at that place."""
    return [*messages[:index], message, *messages[index + 1 :]]
