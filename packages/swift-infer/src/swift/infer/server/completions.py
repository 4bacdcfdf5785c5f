"""POST /v1/completions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.server.generate import Deltas
from swift.infer.server.schema import Answer, Choice, CompletionRequest, Usage
from swift.infer.server.served import ServedModel
from swift.infer.server.sse import EventWriter

TEXT_PIECE = ('"text":', ',"logprobs":null,"finish_reason":null')


class Completion:
    """One completion request on its way: n answers to each of its prompts, in the order of the prompts.

    Raises:
        ApiError: the request cannot be answered.
    """

    def __init__(self, served: ServedModel, request: CompletionRequest) -> None:
        served.check_name(request.model)
        self.served, self.request = served, request
        self.id = f"cmpl-{uuid.uuid4().hex}"
        prompts = served.completion_prompts(request)
        self.prompt_tokens = sum(map(len, prompts))
        self.requests: list[GenerationRequest] = []
        for prompt in prompts:
            for choice in range(request.n):
                sampling = served.sampling(request, len(prompt), request.logprobs, choice)
                name = f"{self.id}-{len(self.requests)}"
                self.requests.append(GenerationRequest(name, tuple(prompt), sampling))
        self.states = [TextState(served) for _ in self.requests]

    async def answer(self, deltas: Deltas) -> Answer:
        """The whole answer."""
        async for batch in deltas:
            for index, delta in batch:
                self.states[index].push(delta)
        return self._object([state.choice(index) for index, state in enumerate(self.states)], self._usage())

    async def events(self, deltas: Deltas) -> AsyncIterator[bytes]:
        """The answer as server-sent events."""
        write = EventWriter(self._object([]), TEXT_PIECE)
        async for batch in deltas:
            yield b"".join(self._piece(write, index, delta) for index, delta in batch)
        if self.request.stream_options and self.request.stream_options.include_usage:
            yield write.usage(self._usage().model_dump())

    def _piece(self, write: EventWriter, index: int, delta: TokenDelta) -> bytes:
        state = self.states[index]
        piece = TextState(self.served, offset=len(state.text))
        state.push(delta)
        if delta.logprobs is None and delta.finish_reason is None:
            return write.text(index, delta.text) if delta.text else b""
        piece.push(delta)
        return write.choice(piece.choice(index).model_dump())

    def _object(self, choices: list[Choice], usage: Usage | None = None) -> Answer:
        return Answer(
            id=self.id, object="text_completion", model=self.served.name, choices=choices, usage=usage
        )

    def _usage(self) -> Usage:
        made = sum(state.tokens for state in self.states)
        return Usage(
            prompt_tokens=self.prompt_tokens, completion_tokens=made, total_tokens=self.prompt_tokens + made
        )


@dataclass(slots=True)
class TextState:
    """What one answer has become so far.

    Attributes:
        offset: characters of the answer before this state's text.
    """

    served: ServedModel
    offset: int = 0
    text: str = ""
    tokens: int = 0
    finish_reason: Any = None
    logprobs: dict[str, list[Any]] | None = field(default=None)

    def push(self, delta: TokenDelta) -> None:
        """Take a delta."""
        if delta.logprobs is not None:
            self._add_logprobs(delta)
        self.text += delta.text
        self.tokens += len(delta.token_ids)
        self.finish_reason = delta.finish_reason

    def choice(self, index: int) -> Choice:
        """The answer, or its piece."""
        return Choice(index=index, text=self.text, logprobs=self.logprobs, finish_reason=self.finish_reason)

    def _add_logprobs(self, delta: TokenDelta) -> None:
        if self.logprobs is None:
            self.logprobs = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        tops = delta.top_logprobs or ({},) * len(delta.token_ids)
        for token, value, top in zip(delta.token_ids, delta.logprobs or (), tops, strict=True):
            self.logprobs["tokens"].append(self.served.token(token))
            self.logprobs["token_logprobs"].append(max(value, -9999.0))
            self.logprobs["top_logprobs"].append({self.served.token(other): p for other, p in top.items()})
            self.logprobs["text_offset"].append(self.offset + len(self.text))
