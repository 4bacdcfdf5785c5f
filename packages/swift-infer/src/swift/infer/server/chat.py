"""POST /v1/chat/completions."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.server.errors import ApiError
from swift.infer.server.generate import merged
from swift.infer.server.schema import Answer, ChatRequest, Choice, Usage
from swift.infer.server.served import ServedModel
from swift.infer.server.tools import ToolCallParser


class Chat:
    """One chat request on its way.

    Raises:
        ApiError: the request cannot be answered.
    """

    def __init__(self, served: ServedModel, request: ChatRequest) -> None:
        served.check_name(request.model)
        if request.top_logprobs is not None and not request.logprobs:
            raise ApiError("top_logprobs needs logprobs=true", param="top_logprobs")
        self.served, self.request = served, request
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        prompt = served.chat_prompt(request)
        self.prompt_tokens = len(prompt)
        logprobs = (request.top_logprobs or 0) if request.logprobs else None
        self.requests = [
            GenerationRequest(
                f"{self.id}-{index}", tuple(prompt), served.sampling(request, len(prompt), logprobs, index)
            )
            for index in range(request.n)
        ]
        tools = bool(request.tools) and request.tool_choice != "none"
        self.states = [ChoiceState(served, ToolCallParser() if tools else None) for _ in self.requests]

    async def answer(self) -> Answer:
        """The whole answer."""
        async for index, delta in merged(self.served.engine, self.requests):
            state = self.states[index]
            state.text += state.push(delta)
        choices = [state.choice(index) for index, state in enumerate(self.states)]
        return self._object("chat.completion", choices, self._usage())

    async def events(self) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        try:
            for index in range(len(self.states)):
                yield self._piece(Choice(index=index, delta={"role": "assistant", "content": ""}))
            async for index, delta in merged(self.served.engine, self.requests):
                for choice in self.states[index].pieces(index, delta):
                    yield self._piece(choice)
            if self.request.stream_options and self.request.stream_options.include_usage:
                yield self._object("chat.completion.chunk", [], self._usage()).line()
        except ApiError as error:
            yield failed_event(error)
        yield "data: [DONE]\n\n"

    def _piece(self, choice: Choice) -> str:
        return self._object("chat.completion.chunk", [choice]).line()

    def _object(self, kind: str, choices: list[Choice], usage: Usage | None = None) -> Answer:
        return Answer(id=self.id, object=kind, model=self.served.name, choices=choices, usage=usage)

    def _usage(self) -> Usage:
        made = sum(state.tokens for state in self.states)
        return Usage(
            prompt_tokens=self.prompt_tokens, completion_tokens=made, total_tokens=self.prompt_tokens + made
        )


@dataclass(slots=True)
class ChoiceState:
    """What one of the n answers has become so far."""

    served: ServedModel
    parser: ToolCallParser | None
    text: str = ""
    tokens: int = 0
    finish_reason: Any = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] | None = None

    def push(self, delta: TokenDelta) -> str:
        """Take a delta; the text to show for it."""
        self.tokens += len(delta.token_ids)
        entries = chat_logprobs(self.served, delta)
        if entries is not None:
            self.logprobs = [*(self.logprobs or []), *entries]
        text = delta.text if self.parser is None else self.parser.push(delta.text)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
            if self.parser is not None:
                rest, self.calls = self.parser.finish()
                text += rest
                self.finish_reason = "tool_calls" if self.calls else delta.finish_reason
        return text

    def choice(self, index: int) -> Choice:
        """The finished answer."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or (None if self.calls else "")}
        if self.calls:
            message["tool_calls"] = self.calls
        logprobs = None if self.logprobs is None else {"content": self.logprobs}
        return Choice(index=index, message=message, logprobs=logprobs, finish_reason=self.finish_reason)

    def pieces(self, index: int, delta: TokenDelta) -> list[Choice]:
        """What a stream shows of a delta."""
        text = self.push(delta)
        entries = chat_logprobs(self.served, delta)
        logprobs = None if entries is None else {"content": entries}
        pieces = []
        if text or entries:
            pieces.append(Choice(index=index, delta={"content": text}, logprobs=logprobs))
        if self.finish_reason is not None:
            calls = [{"index": number, **call} for number, call in enumerate(self.calls)]
            last = {"tool_calls": calls} if calls else {}
            pieces.append(Choice(index=index, delta=last, finish_reason=self.finish_reason))
        return pieces


def chat_logprobs(served: ServedModel, delta: TokenDelta) -> list[dict[str, Any]] | None:
    """Log-probabilities of a delta's tokens in the form of the chat API."""
    if delta.logprobs is None:
        return None
    tops = delta.top_logprobs or ({},) * len(delta.token_ids)
    return [
        {
            **_entry(served, token, value),
            "top_logprobs": [_entry(served, *pair) for pair in top.items()],
        }
        for token, value, top in zip(delta.token_ids, delta.logprobs, tops, strict=True)
    ]


def _entry(served: ServedModel, token: int, logprob: float) -> dict[str, Any]:
    text = served.token(token)
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}


def failed_event(error: ApiError) -> str:
    """The event that ends a stream which cannot go on."""
    return f"data: {json.dumps(error.body())}\n\n"
