"""POST /v1/chat/completions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.server.errors import ApiError
from swift.infer.server.generate import Deltas
from swift.infer.server.schema import Answer, ChatRequest, Choice, Usage
from swift.infer.server.served import ServedModel
from swift.infer.server.sse import EventWriter
from swift.infer.server.tools import ToolCallParser

TEXT_PIECE = ('"delta":{"content":', '},"logprobs":null,"finish_reason":null')


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

    async def answer(self, deltas: Deltas) -> Answer:
        """The whole answer."""
        async for batch in deltas:
            for index, delta in batch:
                state = self.states[index]
                state.text += state.push(delta)
        choices = [state.choice(index) for index, state in enumerate(self.states)]
        return self._object("chat.completion", choices, self._usage())

    async def events(self, deltas: Deltas) -> AsyncIterator[bytes]:
        """The answer as server-sent events."""
        write = EventWriter(self._object("chat.completion.chunk", []), TEXT_PIECE)
        start = [Choice(index=index, delta={"role": "assistant", "content": ""}) for index in self._indices]
        held = b"".join(write.choice(choice.model_dump()) for choice in start)
        async for batch in deltas:
            yield held + b"".join(self._piece(write, index, delta) for index, delta in batch)
            held = b""
        if self.request.stream_options and self.request.stream_options.include_usage:
            yield held + write.usage(self._usage().model_dump())

    @property
    def _indices(self) -> range:
        return range(len(self.states))

    def _piece(self, write: EventWriter, index: int, delta: TokenDelta) -> bytes:
        pieces = self.states[index].pieces(index, delta)
        return b"".join(
            write.text(index, piece) if isinstance(piece, str) else write.choice(piece.model_dump())
            for piece in pieces
        )

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

    def pieces(self, index: int, delta: TokenDelta) -> list[Choice | str]:
        """What a stream shows of a delta; a text where it is nothing else."""
        text = self.push(delta)
        entries = chat_logprobs(self.served, delta)
        pieces: list[Choice | str] = []
        if entries:
            pieces.append(Choice(index=index, delta={"content": text}, logprobs={"content": entries}))
        elif text:
            pieces.append(text)
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
