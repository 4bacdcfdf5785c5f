"""The tokenizer's own chat template, applied to one conversation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from swift.core.errors import ModelError
from swift.core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""First character, and one past the last, of a supervised piece of text."""


class RenderError(Exception):
    """The template refuses these messages; the caller knows the row and says so."""


@dataclass(slots=True)
class Rendered:
    """Text and its supervised spans, in order and disjoint."""

    text: str
    spans: list[Span]


class Renderer:
    """Messages to text by the template of a tokenizer.

    Args:
        tokenizer: it or its settings give the template.

    Raises:
        ModelError: on use, when the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

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
    ) -> str:
        """Text of these messages.

        Raises:
            RenderError: the template raised an exception of its own, or cannot handle a content.
        """
        self.source()
        shown = [
            {key: value for key, value in message.items() if key != "loss"} if "loss" in message else message
            for message in messages
        ]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    shown, tools=tools, tokenize=False, add_generation_prompt=generation_prompt
                )
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise RenderError(str(error)) from error

    def try_render(self, messages: Sequence[Message], *args: Any, **kwargs: Any) -> str | None:
        """The text, or None where the template refuses (half a conversation, for example)."""
        try:
            return self.render(messages, *args, **kwargs) if messages else None
        except RenderError:
            return None
