"""Messages and sampling as an engine reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.core.config.schema import InferConfig
from swift.core.errors import ModelError
from swift.core.types import Message, SamplingParams


def chat_ids(
    tokenizer: Any, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None
) -> tuple[int, ...]:
    """Token ids of a chat up to the assistant's next turn.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer has no chat template", "set model.chat_template to a jinja file")
    text = tokenizer.apply_chat_template(
        list(messages), tools=tools, tokenize=False, add_generation_prompt=True
    )
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


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
