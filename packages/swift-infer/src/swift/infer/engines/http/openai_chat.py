"""POST /v1/chat/completions: messages in, text and tool calls out; the server tokenises."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from swift.core.types import Constraint, GenerationRequest, Message, SamplingParams, TokenDelta
from swift.infer.engines.http.dialect import FINISH, Reader, Unsupported, data_url, refuse

EXTRAS = ("top_k", "min_p", "repetition_penalty", "stop_token_ids", "ignore_eos")
"""Sampling parameters that OpenAI's own API does not have, and vLLM's, SGLang's and ours do."""

OPENAI_CONSTRAINTS = frozenset({"json_schema", "json_object"})
VLLM_CONSTRAINTS = frozenset({"regex", "choice", "grammar"})
IMAGE_PARTS = ("image", "image_url")


@dataclass(frozen=True)
class ChatDialect:
    """OpenAI's chat API.

    Attributes:
        model: what is asked for where a request names no adapter.
        extended: the server also takes EXTRAS and structured_outputs, as vLLM does.
    """

    model: str
    extended: bool = False

    def written(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """A chat request.

        Raises:
            Unsupported: a plain text, log-probabilities, or a parameter that the server does not have.
        """
        if request.messages is None:
            raise Unsupported(
                "a plain text cannot be sent to a chat API: send messages, or set infer.sends=ids"
            )
        refuse(
            request, ("logprobs",), "a chat API gives the tokens' text, not their ids; set infer.sends=ids"
        )
        if not self.extended:
            refuse(
                request, EXTRAS, "OpenAI's API has no such parameter; set infer.extended if this server does"
            )
        sampling = request.sampling
        body = {
            "model": request.adapter or self.model,
            "messages": with_images(request),
            "max_tokens" if self.extended else "max_completion_tokens": sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **drawn(sampling),
            **constrained(sampling.constraint, extended=self.extended),
        }
        if self.extended:
            body |= extras(sampling)
        if request.tools:
            body["tools"] = list(request.tools)
            if request.tool_choice is not None:
                body["tool_choice"] = request.tool_choice
        return "/chat/completions", body

    def reader(self, request: GenerationRequest) -> ChatReader:
        """Reads chat.completion.chunk objects."""
        return ChatReader(request.request_id)


@dataclass
class ChatReader(Reader):
    """What an answer has become so far; tool calls are given when they are whole."""

    request_id: str
    finish: str | None = None
    usage: tuple[int, int] | None = None
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)

    def read(self, event: dict[str, Any]) -> TokenDelta | None:
        """The text of one piece."""
        counted = event.get("usage")
        if counted:
            self.usage = (counted.get("prompt_tokens") or 0, counted.get("completion_tokens") or 0)
        if not event.get("choices"):
            return None
        choice = event["choices"][0]
        self.finish = choice.get("finish_reason") or self.finish
        piece = choice.get("delta") or {}
        for call in piece.get("tool_calls") or ():
            self._add(call)
        text = piece.get("content")
        return TokenDelta(self.request_id, text=text) if text else None

    def end(self) -> TokenDelta | None:
        """Tool calls, usage and why the answer ended."""
        if self.finish is None:
            return None
        calls = tuple(self.calls[index] for index in sorted(self.calls))
        reason = FINISH.get(self.finish, "stop")
        return TokenDelta(self.request_id, finish_reason=reason, tool_calls=calls, usage=self.usage)

    def _add(self, piece: dict[str, Any]) -> None:
        """Join a piece of a tool call to what came before under its index."""
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self.calls.setdefault(piece.get("index", len(self.calls)), empty)
        call["id"] = piece.get("id") or call["id"]
        told = piece.get("function") or {}
        for key in ("name", "arguments"):
            call["function"][key] += told.get(key) or ""


def drawn(sampling: SamplingParams) -> dict[str, Any]:
    """The sampling parameters that OpenAI's API has; neutral ones stay away, so that more servers take it."""
    body: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    for key in ("frequency_penalty", "presence_penalty"):
        if getattr(sampling, key):
            body[key] = getattr(sampling, key)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return body


def extras(sampling: SamplingParams) -> dict[str, Any]:
    """EXTRAS as vLLM names them."""
    neutral = SamplingParams()
    values = {
        key: getattr(sampling, key) for key in EXTRAS if getattr(sampling, key) != getattr(neutral, key)
    }
    if "stop_token_ids" in values:
        values["stop_token_ids"] = list(sampling.stop_token_ids)
    return values


def constrained(constraint: Constraint | None, *, extended: bool) -> dict[str, Any]:
    """response_format, or vLLM's structured_outputs for what OpenAI's API has no form.

    Raises:
        Unsupported: a kind that the server does not have.
    """
    if constraint is None:
        return {}
    if constraint.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if constraint.kind == "json_schema":
        schema = {"name": "answer", "schema": json.loads(constraint.value), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if not extended:
        raise Unsupported(
            f"the constraint {constraint.kind!r} cannot be honoured: OpenAI's API has JSON schemas only; "
            "set infer.extended if this server takes structured_outputs"
        )
    value = json.loads(constraint.value) if constraint.kind == "choice" else constraint.value
    return {"structured_outputs": {constraint.kind: value}}


def with_images(request: GenerationRequest) -> list[Message]:
    """The request's messages, each image placeholder replaced by the next image.

    Raises:
        Unsupported: more or fewer placeholders than images.
    """
    left = list(request.images)
    messages = [_filled(message, left, bool(request.images)) for message in request.messages or ()]
    if left:
        raise Unsupported(f"{len(left)} images have no place in the messages: give each a part of type image")
    return messages


def _filled(message: Message, left: list[bytes], given: bool) -> Message:
    content = message.get("content")
    if not given or not isinstance(content, list):
        return message
    parts = []
    for part in content:
        if isinstance(part, dict) and part.get("type") in IMAGE_PARTS:
            if not left:
                raise Unsupported("the messages have more places for images than there are images")
            part = {"type": "image_url", "image_url": {"url": data_url(left.pop(0))}}
        parts.append(part)
    return {**message, "content": parts}
