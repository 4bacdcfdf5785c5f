"""Messages and sampling as an engine reads them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from swift.core.config.schema import InferConfig
from swift.core.errors import DataError, ModelError
from swift.core.template.agent.convert import plain_messages
from swift.core.template.agent.format import AgentFormat
from swift.core.template.render import Renderer, RenderError
from swift.core.types import GenerationRequest, Message, SamplingParams
from swift.infer.surrogates import half_pair


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
    tools: Sequence[dict[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
    agent: AgentFormat | None = None,
) -> str:
    """A chat as the template writes it.

    Args:
        variables: more for the template to read.
        agent: format that tools, calls and results are written in, as data.agent_format trains them; None:
            the template's own.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: the template refuses these messages or leaves tools out, or a variable is none of a
            template's.
    """
    check_chats(tokenizer)
    if variables:
        _check_variables(tokenizer, variables)
    renderer = renderer_of(tokenizer)
    offered = list(tools) if tools else None
    if agent is not None:
        shows_system = not offered or renderer.shows_system()
        messages, offered = plain_messages(messages, offered, agent, system_turn=shows_system), None
    try:
        return renderer.render(messages, offered, generation_prompt=True, variables=variables)
    except (RenderError, KeyError, RecursionError) as error:
        raise DataError(f"the chat template refuses these messages: {error}") from error


@functools.lru_cache(maxsize=4)
def renderer_of(tokenizer: Any) -> Renderer:
    """The renderer of a tokenizer, which learns once what its template makes of tools."""
    return Renderer(tokenizer)


def _check_variables(tokenizer: Any, variables: Mapping[str, Any]) -> None:
    own = {*inspect.signature(tokenizer.apply_chat_template).parameters, "messages"}
    taken = sorted(variables.keys() & own)
    if taken:
        raise DataError(f"{', '.join(taken)} cannot be set as a variable of the chat template")


def check_chats(tokenizer: Any) -> None:
    """Raises ModelError for a tokenizer without chat template."""
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer has no chat template", "set model.chat_template to a jinja file")


def text_ids(tokenizer: Any, text: str, *, special: bool = True) -> tuple[int, ...]:
    """Token ids of a text, with or without the special tokens that the tokenizer puts around one.

    Raises:
        DataError: half a surrogate pair, which JSON can escape and UTF-8 cannot write.
    """
    half = half_pair(text)
    if half is not None:
        raise DataError(f"the text holds {half!r}, half of a surrogate pair", "escape both halves, or none")
    return tuple(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])


def chat_request(
    name: str,
    messages: Sequence[Message],
    tokenizer: Any,
    config: InferConfig,
    *,
    number: int = 0,
    tools: Sequence[dict[str, Any]] | None = None,
    adapter: str | None = None,
    images: Sequence[bytes] = (),
    reads: Literal["ids", "chat"] = "ids",
) -> GenerationRequest:
    """The request for the assistant's next turn, with infer's system message and sampling.

    Args:
        tokenizer: not asked where the engine reads chats.
        number: of the request in its run; with a seed each has its own.
        images: encoded files, one for each image part of the messages.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: the template refuses these messages, or their text cannot be encoded.
    """
    turns = with_system(messages, config.system)
    offered = list(tools) if tools else None
    return GenerationRequest(
        name,
        () if reads == "chat" else chat_ids(tokenizer, turns, offered),
        sampling(config, number),
        adapter=adapter,
        images=tuple(images),
        messages=tuple(turns),
        tools=tuple(offered) if offered else None,
    )


def several(request: GenerationRequest, count: int, first: int = 0) -> list[GenerationRequest]:
    """Requests for so many answers to one prompt, numbered from `first` behind its name.

    Where it has a seed each has its own: that seed, and those after it.
    """
    params = request.sampling
    return [
        replace(
            request,
            request_id=f"{request.request_id}-{first + number}",
            sampling=params if params.seed is None else replace(params, seed=params.seed + number),
        )
        for number in range(count)
    ]


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
