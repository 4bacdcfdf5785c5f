"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from swift.core.types import GenerationRequest, Review, TokenDelta
from swift.infer.prompts import several
from swift.infer.server.answers import AnsweredCall, AssistantMessage, ChatAnswer, ChatChoice, Usage
from swift.infer.server.envelope import Envelope
from swift.infer.server.filters.chain import reviewed
from swift.infer.server.generate import Deltas
from swift.infer.server.heard import Heard, all_finished, check_shown, hear, total_usage
from swift.infer.server.logprobs import chat_logprobs
from swift.infer.server.prompting import chat_prompt
from swift.infer.server.sampled import enforced_calls, sampling
from swift.infer.server.schema import ChatRequest, NamedTool
from swift.infer.server.served import ServedModel
from swift.infer.server.sse import EventWriter
from swift.infer.server.tools.stream import CallPiece, CallStream, read_calls

TEXT_PIECE = ('"delta":{"content":', '},"logprobs":null,"finish_reason":null')


class Chat:
    """One chat request on its way.

    Raises:
        ApiError: the request cannot be answered.
    """

    def __init__(self, served: ServedModel, request: ChatRequest) -> None:
        adapter = served.adapter(request.model)
        check_shown(served, request)
        self.served, self.request = served, request
        self.envelope = Envelope.new("chatcmpl", request.model)
        self.prompt = chat_prompt(served, request)
        self.prompt_tokens = len(self.prompt.ids)
        logprobs = (request.top_logprobs or 0) if request.logprobs else None
        params = sampling(served, request, prompt=self.prompt_tokens, logprobs=logprobs, param="messages")
        one = GenerationRequest(
            self.envelope.id,
            self.prompt.ids,
            params,
            adapter=adapter,
            images=self.prompt.images,
            messages=self.prompt.messages,
            tools=self.prompt.tools,
            tool_choice=_choice(request),
        )
        self.requests = several(one, request.n)
        parses = self.prompt.tools is not None and served.facts.reads == "ids"
        self.states = [ChatState(served, request, parses=parses) for _ in self.requests]

    async def answer(self, deltas: Deltas) -> ChatAnswer:
        """The whole answer."""
        await hear(deltas, self.states)
        choices = [await self._choice(index, state) for index, state in enumerate(self.states)]
        return ChatAnswer(
            **asdict(self.envelope),
            choices=choices,
            usage=self._usage(),
            prompt_token_ids=list(self.prompt.ids) if self.request.return_token_ids else None,
        )

    async def events(self, deltas: Deltas) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events."""
        write = EventWriter(self.envelope.event("chat.completion.chunk"), TEXT_PIECE)
        held = self._start(write)
        async for batch in deltas:
            pieces = [held]
            held = b""
            for index, delta in batch:
                pieces += await self._pieces(write, index, delta)
            yield b"".join(pieces)
            if all_finished(self.states):
                break
        if self.request.stream_options and self.request.stream_options.include_usage:
            yield held + write.usage(self._usage().model_dump())

    def _start(self, write: EventWriter) -> bytes:
        """Who speaks, choice by choice; with the first one the ids of the prompt."""
        starts = []
        for index in range(len(self.states)):
            piece = _piece(index, {"role": "assistant", "content": ""})
            shows = self.request.return_token_ids and not index
            starts.append(write.choices([piece], **({"prompt_token_ids": self.prompt.ids} if shows else {})))
        return b"".join(starts)

    async def _pieces(self, write: EventWriter, index: int, delta: TokenDelta) -> list[bytes]:
        state = self.states[index]
        if state.heard.finished:
            return []
        pieces = [
            write.text(index, piece) if isinstance(piece, str) else write.choice({"index": index, **piece})
            for piece in state.pieces(delta)
        ]
        if state.heard.finished:
            last = _piece(index, {}, state.reason())
            note = await self._review(state.heard)
            pieces.append(write.choice({**last, "note": note.note} if note and note.note else last))
        return pieces

    async def _choice(self, index: int, state: ChatState) -> ChatChoice:
        """A finished answer."""
        review = await self._review(state.heard)
        content, calls = state.message()
        if review is not None and review.replacement is not None:
            content, calls = review.replacement, []
        message = AssistantMessage(
            content=content or (None if calls else ""),
            tool_calls=[AnsweredCall.model_validate(call) for call in calls] or None,
        )
        return ChatChoice.model_validate(
            {
                "index": index,
                "message": message,
                "logprobs": None if state.logprobs is None else {"content": state.logprobs},
                "finish_reason": state.reason(calls=bool(calls)),
                "token_ids": state.heard.ids if self.request.return_token_ids else None,
                "note": (review.note if review is not None else "") or None,
            }
        )

    async def _review(self, heard: Heard) -> Review | None:
        return await reviewed(self.served.filters, self.prompt.messages, heard.text)

    def _usage(self) -> Usage:
        return total_usage(self.prompt_tokens, [state.heard for state in self.states])


def _choice(request: ChatRequest) -> str | dict[str, Any] | None:
    """What engines that read chats are told about calls; the others have a constraint."""
    if enforced_calls(request) is None:
        return None
    choice = request.tool_choice
    return choice.model_dump() if isinstance(choice, NamedTool) else choice


def _piece(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


@dataclass(slots=True)
class ChatState:
    """What one of the n answers has become so far.

    Attributes:
        parses: calls are to be found in the text.
    """

    served: ServedModel
    request: ChatRequest
    parses: bool
    heard: Heard = field(init=False)
    logprobs: list[dict[str, Any]] | None = None
    calls: CallStream | None = None
    called: bool = False

    def __post_init__(self) -> None:
        self.heard = Heard.under(self.served.filters)
        if self.parses and self.request.stream:
            self.calls = CallStream(self.served.agent, self.request.offered)

    def take(self, delta: TokenDelta) -> None:
        """Take a delta of an answer that is sent as a whole."""
        self.heard.take(delta)
        entries = chat_logprobs(self.served.token, delta)
        if entries is not None:
            self.logprobs = [*(self.logprobs or []), *entries]

    def message(self) -> tuple[str, list[dict[str, Any]]]:
        """(content, calls) of the whole answer."""
        if self.parses:
            return read_calls(self.served.agent, self.heard.text, self.request.offered)
        return self.heard.text, list(self.heard.calls)

    def reason(self, *, calls: bool | None = None) -> str | None:
        """Why the answer ended."""
        called = self.called if calls is None else calls
        return "tool_calls" if called and self.heard.reason == "stop" else self.heard.reason

    def pieces(self, delta: TokenDelta) -> Iterator[str | dict[str, Any]]:
        """What a stream shows of a delta; a text where it is nothing else."""
        text = self.heard.take(delta)
        shown: list[str | CallPiece] = [text] if self.calls is None else list(self.calls.push(text))
        if self.calls is not None and self.heard.finished:
            shown += self.calls.finish()
        shown += [
            CallPiece(number, call["function"]["name"], call["function"]["arguments"], call.get("id"))
            for number, call in enumerate(self.heard.calls)
        ]
        yield from self._written(shown, self._beside(delta))

    def _written(
        self, shown: list[str | CallPiece], beside: dict[str, Any]
    ) -> Iterator[str | dict[str, Any]]:
        """What stands beside the text goes with the first piece."""
        content = "".join(piece for piece in shown if isinstance(piece, str))
        if beside:
            yield {"delta": {"content": content}, "logprobs": None, "finish_reason": None, **beside}
        elif content:
            yield content
        for piece in shown:
            if isinstance(piece, CallPiece):
                self.called = True
                yield {"delta": {"tool_calls": [piece.delta()]}, "logprobs": None, "finish_reason": None}

    def _beside(self, delta: TokenDelta) -> dict[str, Any]:
        beside: dict[str, Any] = {}
        entries = chat_logprobs(self.served.token, delta)
        if entries:
            beside["logprobs"] = {"content": entries}
        if self.request.return_token_ids and delta.token_ids:
            beside["token_ids"] = delta.token_ids
        return beside
