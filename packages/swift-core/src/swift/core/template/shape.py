"""Conversations of one shape share one rendering: literal pieces of text with slots for the contents.

The real template renders a shape once with marks as contents; the result is cut at the marks. That is exact
for every row whose contents the template's code cannot tell apart (see constants.py), and it is checked
against the real template with several probes before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swift.core.template.constants import Constants
from swift.core.template.render import Rendered, Renderer, RenderError, Span
from swift.core.template.spans import header_end
from swift.core.types import Message

Roles = tuple[str, ...]

PROBES = (
    "Hello there.",
    "naïve 中文\n\n  \"quoted\" \\n <b>&amp;</b> {x} 'y'",
    "A long answer: " + "word " * 400 + "end",
    "7",
)
"""Contents that upper(), tojson, truncate, escape and the like would change."""


def mark(index: int) -> str:
    """A content that occurs nowhere else and does not survive escaping or change of case."""
    return f'\ue0f5aB"\\\n<{index}>Cd\ue0f6'


@dataclass(frozen=True)
class Shape:
    """One compiled rendering.

    Attributes:
        literals: [slots + 1] the text around the slots.
        slots: which message fills each slot.
        spans: for each learned turn (literal, offset) where it starts and (literal, offset) where it ends.
    """

    literals: tuple[str, ...]
    slots: tuple[int, ...]
    spans: tuple[tuple[tuple[int, int], tuple[int, int]], ...]

    def render(self, contents: Sequence[str]) -> Rendered:
        """The conversation with these contents, exchangeable ones only."""
        places: list[int] = []
        pieces: list[str] = []
        position = 0
        for literal, slot in zip(self.literals, (*self.slots, -1), strict=True):
            content = contents[slot] if slot >= 0 else ""
            places.append(position)
            pieces += (literal, content)
            position += len(literal) + len(content)
        spans: list[Span] = [
            (places[first] + start, places[last] + end) for (first, start), (last, end) in self.spans
        ]
        return Rendered("".join(pieces), spans)


def compile_shape(
    renderer: Renderer,
    roles: Roles,
    learn: Sequence[float],
    closing: object,
    *,
    generation_prompt: bool = False,
) -> Shape | None:
    """Render a shape once, or None when the template does not put each content into the text exactly once.

    Args:
        learn: [len(roles)] which turns are supervised.
        closing: pattern of what closes a turn (see spans.closing_pattern).
    """
    messages = _messages(roles, [mark(index) for index in range(len(roles))])
    text = renderer.try_render(messages, generation_prompt=generation_prompt)
    if text is None:
        return None
    found = [(text.find(mark(index)), index) for index in range(len(roles))]
    if any(place < 0 or text.count(mark(index)) != 1 for place, index in found):
        return None
    found.sort()
    literals: list[str] = []
    position = 0
    for place, index in found:
        literals.append(text[position:place])
        position = place + len(mark(index))
    literals.append(text[position:])
    slots = tuple(index for _, index in found)
    spans = _spans(renderer, messages, text, found, learn, closing)
    shape = Shape(tuple(literals), slots, spans)
    return shape if _agrees(shape, renderer, roles, generation_prompt) else None


def _spans(
    renderer: Renderer,
    messages: list[Message],
    text: str,
    found: list[tuple[int, int]],
    learn: Sequence[float],
    closing: object,
) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    spans = []
    before = 0
    for number, (place, index) in enumerate(found):
        if learn[index]:
            start = header_end(renderer, text, messages[:index], None, before, place)
            start = place if start is None else start
            after = place + len(mark(index))
            close = closing.match(text, after)  # type: ignore[attr-defined]
            end = close.end() if close else after
            spans.append(((number, start - before), (number + 1, end - after)))
        before = place + len(mark(index))
    return tuple(spans)


def _messages(roles: Roles, contents: Sequence[str]) -> list[Message]:
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


def _agrees(shape: Shape, renderer: Renderer, roles: Roles, generation_prompt: bool) -> bool:
    """The shape and the real template give the same text for every probe."""
    for turn in range(len(PROBES)):
        contents = [f"{PROBES[(turn + index) % len(PROBES)]} {index}" for index in range(len(roles))]
        try:
            text = renderer.render(_messages(roles, contents), generation_prompt=generation_prompt)
        except RenderError:
            return False
        if shape.render(contents).text != text:
            return False
    return True


class Guard:
    """Whether contents are exchangeable for a template.

    Args:
        constants: the template's conditions.
        added_tokens: strings that the tokenizer turns into one token wherever they stand.
    """

    def __init__(self, constants: Constants, added_tokens: Sequence[str]) -> None:
        self.exchangeable = constants.exchangeable
        parts = {*constants.parts, *added_tokens, "\ue0f5"} - {""}
        self._parts = tuple(sorted(parts))
        self._first = tuple({part[0] for part in parts})
        self._whole = constants.whole
        self._ends = constants.ends

    def admits(self, contents: Sequence[str]) -> bool:
        """No content decides anything: no white space around it, nothing that the code looks for."""
        if len(set(contents)) != len(contents):
            return False  # the code may compare messages with each other
        for content in contents:
            if not content or content.strip() != content or content in self._whole:
                return False
            if self._ends and (content[0] in self._ends or content[-1] in self._ends):
                return False
            for first in self._first:
                if first in content and any(part in content for part in self._parts if part[0] == first):
                    return False
        return True
