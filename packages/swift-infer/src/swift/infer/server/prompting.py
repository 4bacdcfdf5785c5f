"""From the bodies of requests to prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from swift.core.errors import DataError, ModelError, RefusedContent
from swift.core.types import Message
from swift.infer.prompts import chat_text, with_system
from swift.infer.server.errors import ApiError
from swift.infer.server.images import read_images
from swift.infer.server.schema import MAX_CHOICES, ChatRequest, CompletionRequest
from swift.infer.server.served import ServedModel


@dataclass(frozen=True)
class Prompt:
    """What is asked.

    Attributes:
        ids: empty where the engine reads chats.
        messages: the chat, or the plain text as one user's turn, for those who review the answer.
        images: encoded files.
    """

    ids: tuple[int, ...]
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None
    images: tuple[bytes, ...] = ()


def chat_prompt(served: ServedModel, request: ChatRequest) -> Prompt:
    """A chat up to the assistant's next turn.

    Raises:
        ApiError: no template, one that refuses these messages, images that cannot be read, or a filter's
            refusal.
    """
    images = _images(served, request)
    messages = [message.plain() for message in request.messages]
    messages = with_system([_filtered_message(served, one) for one in messages], served.defaults.system)
    tools = tuple(request.offered) if request.offered and request.tool_choice != "none" else None
    prompt = Prompt((), tuple(messages), tools, images)
    if served.facts.reads == "chat":
        return replace(prompt, messages=tuple(map(_with_text_arguments, messages)))
    return replace(prompt, ids=_chat_ids(served, request, messages, tools))


def completion_prompts(served: ServedModel, request: CompletionRequest) -> list[Prompt]:
    """Every prompt of a completion request.

    Raises:
        ApiError: none, too many, unknown token ids, or a filter's refusal.
    """
    if served.facts.reads == "chat":
        raise ApiError("this model's engine reads chats only: use /v1/chat/completions", code="chat_only")
    prompts: list[Any] = [request.prompt] if _is_one(request.prompt) else list(request.prompt)
    if not prompts:
        raise ApiError("prompt is empty: send a text or token ids", param="prompt", code="invalid_value")
    if len(prompts) * request.n > MAX_CHOICES:
        raise ApiError(
            f"{len(prompts)} prompts with n={request.n}: at most {MAX_CHOICES} answers a request",
            param="prompt",
            code="invalid_value",
        )
    return [_completion_prompt(served, one) for one in prompts]


def _completion_prompt(served: ServedModel, given: str | list[int]) -> Prompt:
    if isinstance(given, str):
        text = filtered(served, given)
        return Prompt(served.encode(text, "prompt"), ({"role": "user", "content": text},))
    ids = served.known(given, "prompt")
    text = served.tokenizer.decode(ids) if served.filters else ""
    if served.filters and filtered(served, text) != text:  # there are no ids of the text that would remain
        raise refused("the prompt holds what a content filter would change: send it as text")
    return Prompt(ids, ({"role": "user", "content": text},))


def _chat_ids(
    served: ServedModel,
    request: ChatRequest,
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]] | None,
) -> tuple[int, ...]:
    agent = served.agent if served.agent_format is not None else None
    try:
        text = chat_text(served.tokenizer, messages, tools, request.chat_template_kwargs, agent)
    except ModelError as error:
        raise ApiError(f"{error.problem}: use /v1/completions", code="no_chat_template") from error
    except DataError as error:
        raise ApiError(error.problem, param="messages", code="invalid_value") from error
    return served.encode(text, "messages", special=False)


def _images(served: ServedModel, request: ChatRequest) -> tuple[bytes, ...]:
    urls = [url for message in request.messages for url in message.images()]
    if urls and not served.facts.images:
        raise ApiError("this model takes no images (image_url)", param="messages", code="invalid_value")
    return read_images(urls, served.image_hosts)


def _filtered_message(served: ServedModel, message: Message) -> Message:
    content = message["content"]
    if not served.filters:
        return message
    if isinstance(content, str):
        return {**message, "content": filtered(served, content)}
    parts = [{**part, "text": filtered(served, part["text"])} if "text" in part else part for part in content]
    return {**message, "content": parts}


def filtered(served: ServedModel, text: str) -> str:
    """A text of a prompt after all content filters.

    Raises:
        ApiError: one of them refuses it.
    """
    for each in served.filters:
        try:
            text = each.check(text)
        except RefusedContent as error:
            raise refused(error.problem) from error
    return text


def refused(message: str) -> ApiError:
    """The answer to a prompt that a content filter refuses."""
    return ApiError(message, code="content_filter")


def _with_text_arguments(message: Message) -> Message:
    """A message as the chat API writes it: arguments of calls as JSON text."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message


def _is_one(prompt: Any) -> bool:
    return isinstance(prompt, str) or (bool(prompt) and isinstance(prompt[0], int))
