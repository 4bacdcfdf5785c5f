"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, field
from typing import Any

from swift.core.types import GenerationRequest, Review, TokenDelta
from swift.infer.prompts import several
from swift.infer.server.answers import TextAnswer, TextChoice, Usage
from swift.infer.server.envelope import Envelope
from swift.infer.server.filters.chain import reviewed
from swift.infer.server.generate import Deltas
from swift.infer.server.heard import Heard, all_finished, check_shown, hear, total_usage
from swift.infer.server.logprobs import text_logprobs
from swift.infer.server.prompting import Prompt, completion_prompts
from swift.infer.server.sampled import sampling
from swift.infer.server.schema import CompletionRequest
from swift.infer.server.served import ServedModel
from swift.infer.server.sse import EventWriter

TEXT_PIECE = ('"text":', ',"logprobs":null,"finish_reason":null')


class Completion:
    """One completion request on its way: n answers to each of its prompts, in the order of the prompts.

    Raises:
        ApiError: the request cannot be answered.
    """

    def __init__(self, served: ServedModel, request: CompletionRequest) -> None:
        adapter = served.adapter(request.model)
        check_shown(served, request)
        self.served, self.request = served, request
        self.envelope = Envelope.new("cmpl", request.model)
        prompts = completion_prompts(served, request)
        self.prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        self.requests: list[GenerationRequest] = []
        self.states: list[TextState] = []
        for prompt in prompts:
            params = sampling(
                served, request, prompt=len(prompt.ids), logprobs=request.logprobs, param="prompt"
            )
            one = GenerationRequest(self.envelope.id, prompt.ids, params, adapter=adapter)
            self.requests += several(one, request.n, first=len(self.requests))
            self.states += [TextState(served, request, prompt) for _ in range(request.n)]

    async def answer(self, deltas: Deltas) -> TextAnswer:
        """The whole answer."""
        await hear(deltas, self.states)
        choices = [await self._choice(index, state) for index, state in enumerate(self.states)]
        return TextAnswer(**asdict(self.envelope), choices=choices, usage=self._usage())

    async def events(self, deltas: Deltas) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events."""
        write = EventWriter(self.envelope.event("text_completion"), TEXT_PIECE)
        async for batch in deltas:
            yield b"".join([await self._piece(write, index, delta) for index, delta in batch])
            if all_finished(self.states):
                break
        if self.request.stream_options and self.request.stream_options.include_usage:
            yield write.usage(self._usage().model_dump())

    async def _piece(self, write: EventWriter, index: int, delta: TokenDelta) -> bytes:
        state = self.states[index]
        if state.heard.finished:
            return b""
        piece = state.piece(delta)
        if piece.keys() == {"text"} and not state.heard.finished:
            return write.text(index, piece["text"]) if piece["text"] else b""
        review = await self._review(state) if state.heard.finished else None
        return write.choice(
            {
                "index": index,
                "logprobs": None,
                "finish_reason": state.heard.reason,
                **piece,
                **({"note": review.note} if review and review.note else {}),
            }
        )

    async def _choice(self, index: int, state: TextState) -> TextChoice:
        """A finished answer."""
        review = await self._review(state)
        replaced = review.replacement if review is not None else None
        shows = self.request.return_token_ids
        return TextChoice.model_validate(
            {
                "index": index,
                "text": state.heard.text if replaced is None else replaced,
                "logprobs": state.logprobs,
                "finish_reason": state.heard.reason,
                "prompt_token_ids": list(state.prompt.ids) if shows else None,
                "token_ids": state.heard.ids if shows else None,
                "note": (review.note if review is not None else "") or None,
            }
        )

    async def _review(self, state: TextState) -> Review | None:
        return await reviewed(self.served.filters, state.prompt.messages, state.heard.text)

    def _usage(self) -> Usage:
        return total_usage(self.prompt_tokens, [state.heard for state in self.states])


@dataclass(slots=True)
class TextState:
    """What one answer has become so far.

    Attributes:
        length: characters of it.
        begun: its first piece is out.
    """

    served: ServedModel
    request: CompletionRequest
    prompt: Prompt
    heard: Heard = field(init=False)
    length: int = 0
    begun: bool = False
    logprobs: dict[str, list[Any]] | None = None

    def __post_init__(self) -> None:
        self.heard = Heard.under(self.served.filters)

    def _token(self, token: int) -> str:
        """How log-probabilities name a token."""
        return f"token_id:{token}" if self.request.return_tokens_as_token_ids else self.served.token(token)

    def take(self, delta: TokenDelta) -> dict[str, list[Any]] | None:
        """Take a delta; the log-probabilities of its tokens."""
        entries = text_logprobs(self._token, delta, self.length)
        self.length += len(self.heard.take(delta))
        if entries is not None:
            known = self.logprobs or {key: [] for key in entries}
            self.logprobs = {key: known[key] + more for key, more in entries.items()}
        return entries

    def piece(self, delta: TokenDelta) -> dict[str, Any]:
        """What a stream shows of a delta."""
        before = self.length
        entries = text_logprobs(self._token, delta, before)
        text = self.heard.take(delta)
        self.length += len(text)
        piece: dict[str, Any] = {"text": text}
        if entries is not None:
            piece["logprobs"] = entries
        if self.request.return_token_ids:
            piece["token_ids"] = delta.token_ids
            if not self.begun:
                piece["prompt_token_ids"] = self.prompt.ids
        self.begun = True
        return piece
