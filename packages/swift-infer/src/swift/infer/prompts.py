"""Messages and sampling as an engine reads them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from swift.core.config.schema import InferConfig
from swift.core.errors import DataError, ModelError
from swift.core.types import Message, SamplingParams


def chat_ids(
    tokenizer: Any, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None
) -> tuple[int, ...]:
    """Token ids of a chat up to the assistant's next turn.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: the template refuses these messages, or their text cannot be encoded.
    """
    return text_ids(tokenizer, chat_text(tokenizer, messages, tools), special=False)


def chat_text(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: list[dict[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """A chat as the template writes it, with more variables than messages and tools for it to read.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: the template refuses these messages, or a variable is none of a template's.
    """
    check_chats(tokenizer)
    variables = variables or {}
    taken = sorted(
        variables.keys() & {*inspect.signature(tokenizer.apply_chat_template).parameters, "messages"}
    )
    if taken:
        raise DataError(f"{', '.join(taken)} cannot be set as a variable of the chat template")
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=True, **variables
        )
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"the chat template refuses these messages: {error}") from error
    return str(text)


def check_chats(tokenizer: Any) -> None:
    """Raises ModelError for a tokenizer without chat template."""
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer has no chat template", "set model.chat_template to a jinja file")


def text_ids(tokenizer: Any, text: str, *, special: bool = True) -> tuple[int, ...]:
    """Token ids of a text, with or without the special tokens that the tokenizer puts around one.

    Raises:
        DataError: half a surrogate pair, which JSON can escape and UTF-8 cannot write.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text holds {text[error.start]!r}, half of a surrogate pair", "escape both halves, or none"
        ) from error
    return tuple(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])


def with_system(messages: Sequence[Message], system: str | None) -> list[Message]:
    """The messages behind a system message, unless they have their own."""
    if system is None or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def sampling(config: InferConfig, number: int = 0) -> SamplingParams:
    """Sampling of the number-th request of a run; with a seed, each has its own."""
    return SamplingParams(
        max_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        seed=None if config.seed is None else config.seed + number,
    )
