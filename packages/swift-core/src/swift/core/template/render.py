"""The tokenizer's own chat template, applied to one conversation at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from swift.core.errors import ModelError
from swift.core.template.tools import MARK, ToolSupport, dropped, has_tools, probe_support
from swift.core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""First character, and one past the last, of a supervised piece of text."""

Piece = tuple[int, int, float]
"""First character, one past the last, weight."""

HIDDEN = frozenset({"loss", "call_text", "was"})
"""Keys of a message that are for the template layer, not for the chat template."""


class RenderError(Exception):
    """The template refuses these messages; the caller knows the row and says so."""


@dataclass(slots=True)
class Rendered:
    """Text and what of it is supervised.

    Attributes:
        spans: supervised pieces, in order and disjoint.
        weights: (start, end, weight) of every piece that is supervised, instead of spans; None: weight 1.
    """

    text: str
    spans: list[Span]
    weights: list[Piece] | None = None


class Renderer:
    """Messages to text by the template of a tokenizer.

    Args:
        tokenizer: it or its settings give the template.

    Raises:
        ModelError: on use, when the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._support: dict[str, ToolSupport] = {}
        self._shows_system: dict[str, bool] = {}

    def source(self) -> str:
        """The jinja source that rows without tools are rendered by."""
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer of {self.tokenizer.name_or_path or type(self.tokenizer).__name__!r} "
                "has no chat template, so turns cannot be rendered",
                "set model.chat_template to a jinja file or to the built-in name 'chatml'",
            )
        return str(self.tokenizer.get_chat_template())

    def render(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        *,
        generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """Text of these messages.

        Args:
            variables: more for the template to read.

        Raises:
            RenderError: the template raised an exception of its own, cannot handle a content, or would
                leave tools or calls out.
        """
        shown = [
            {key: value for key, value in message.items() if key not in HIDDEN}
            if not HIDDEN.isdisjoint(message)
            else message
            for message in messages
        ]
        if has_tools(messages, tools):
            shown = self._fitting(shown, tools)
        return self._apply(shown, tools, generation_prompt, variables or {})

    def shows_system(self) -> bool:
        """Whether the template shows the system turn of an answered conversation."""
        source = self.source()
        if source not in self._shows_system:
            roles = ("system", "user", "assistant")
            turns: list[Message] = [{"role": role, "content": MARK + role} for role in roles]
            self._shows_system[source] = MARK + "system" in (self._try_apply(turns, None) or "")
        return self._shows_system[source]

    def _fitting(self, messages: list[Message], tools: Any) -> list[Message]:
        """The messages with tools as the template takes them."""
        source = self.source()
        if source not in self._support:
            self._support[source] = probe_support(self._try_apply)
        missing = dropped(self._support[source], messages, tools)
        if missing is not None:
            raise RenderError(f"it would leave out {missing}")
        return [_fitted(message, self._support[source]) for message in messages]

    def _apply(
        self,
        messages: list[Message],
        tools: list[dict[str, Any]] | None,
        generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        self.source()
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tools=tools,
                    tokenize=False,
                    add_generation_prompt=generation_prompt,
                    **variables,
                )
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise RenderError(str(error)) from error

    def _try_apply(self, messages: list[Message], tools: Any) -> str | None:
        try:
            return self._apply(messages, tools, False, {})
        except RenderError:
            return None

    def try_render(self, messages: Sequence[Message], *args: Any, **kwargs: Any) -> str | None:
        """The text, or None where the template refuses (half a conversation, for example)."""
        try:
            return self.render(messages, *args, **kwargs) if messages else None
        except RenderError:
            return None


def _fitted(message: Message, support: ToolSupport) -> Message:
    """A calling turn as the template takes it."""
    if "tool_calls" not in message or not (support.text_arguments or support.null_content):
        return message
    content = None if support.null_content and not message["content"] else message["content"]
    if not support.text_arguments:
        return {**message, "content": content}
    calls = [
        {**call, "function": {**call["function"], "arguments": _as_text(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "content": content, "tool_calls": calls}


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
