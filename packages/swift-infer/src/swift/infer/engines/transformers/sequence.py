"""One request on its way through the engine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace

from swift.core.types import FinishReason, GenerationRequest, TokenDelta
from swift.infer.engines.transformers.detokenize import Decode, Detokenizer
from swift.infer.engines.transformers.sampler import Draw, Drawn


@dataclass(slots=True, eq=False)
class Sequence:
    """A request, its answer so far, and how many of its tokens the cache holds.

    Attributes:
        length: tokens in the cache.
        last: the token that the next step reads: at first the prompt's last one.
        limit: most new tokens, with the context of the model taken into account.
    """

    request: GenerationRequest
    detokenizer: Detokenizer
    seed: int
    limit: int
    length: int = 0
    last: int = 0
    generated: int = 0
    finish_reason: FinishReason | None = None
    _stops: frozenset[int] = field(default_factory=frozenset)

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens to be read before the first step: all of the prompt but its last one."""
        return self.request.prompt_ids[:-1]

    @property
    def most(self) -> int:
        """Tokens the cache may hold for it at its end."""
        return len(self.request.prompt_ids) + self.limit

    def draw(self) -> Draw:
        """How the next token is sampled."""
        return Draw(self.request.sampling, self.seed, self.generated)

    def accept(self, drawn: Drawn) -> TokenDelta:
        """Take the token that follows `last`; the delta to report."""
        if not drawn.finite:
            self.finish_reason = "error"
            return failure(
                self.request.request_id, "the model's logits are not numbers (NaN): its weights are broken"
            )
        self.length += 1
        self.generated += 1
        self.last = drawn.token
        text = self._text(drawn.token)
        return TokenDelta(
            request_id=self.request.request_id,
            token_ids=(drawn.token,),
            text=text,
            logprobs=None if drawn.logprob is None else (drawn.logprob,),
            top_logprobs=None if drawn.top is None else (drawn.top,),
            finish_reason=self.finish_reason,
        )

    def _text(self, token: int) -> str:
        ended = token in self._stops and not self.request.sampling.ignore_eos
        text = "" if ended else self.detokenizer.push(token)
        if ended or self.detokenizer.stopped:
            self.finish_reason = "stop"
        elif self.generated >= self.limit:
            self.finish_reason = "length"
        if self.finish_reason is not None:
            text += self.detokenizer.finish()
            if self.detokenizer.stopped:  # the rest of the text completed a stop string
                self.finish_reason = "stop"
        return text


@dataclass(slots=True, frozen=True)
class Limits:
    """What a request must respect.

    Attributes:
        context: longest prompt and answer together, None when the model sets none.
        kv_tokens: room for keys and values.
        vocab_size: token ids lie below it.
        virtual_tokens: stand before every prompt; from here on they are part of it, under the id 0.
    """

    context: int | None
    kv_tokens: int
    vocab_size: int
    virtual_tokens: int = 0


def begin(
    request: GenerationRequest, limits: Limits, decode: Decode, stops: frozenset[int]
) -> Sequence | TokenDelta:
    """A sequence, or the delta that says why the request cannot be run."""
    if request.prompt_ids and limits.virtual_tokens:
        request = replace(request, prompt_ids=(0,) * limits.virtual_tokens + request.prompt_ids)
    limit = request.sampling.max_tokens
    if limits.context is not None:
        limit = min(limit, limits.context - len(request.prompt_ids))
    problem = _problem(request, limits, limit)
    if problem:
        return failure(request.request_id, problem)
    seed = request.sampling.seed
    return Sequence(
        request=request,
        detokenizer=Detokenizer(decode, request.sampling.stop),
        seed=secrets.randbits(64) if seed is None else seed,
        limit=limit,
        last=request.prompt_ids[-1],
        _stops=stops,
    )


def _problem(request: GenerationRequest, limits: Limits, limit: int) -> str:
    count = len(request.prompt_ids)
    if count == 0:
        return "the prompt holds no token; send at least one"
    if request.sampling.max_tokens < 1:
        return f"max_tokens is {request.sampling.max_tokens}; ask for at least 1"
    if limit < 1:
        return f"the prompt has {count} tokens, the model's context {limits.context}; shorten the prompt"
    if count + limit > limits.kv_tokens:
        return (
            f"prompt and answer may take {count + limit} tokens, infer.kv_tokens allows {limits.kv_tokens}; "
            "raise it, or lower max_tokens"
        )
    return _strange_token(request.prompt_ids, limits.vocab_size)


def _strange_token(ids: Items[int], vocab_size: int) -> str:
    if min(ids) >= 0 and max(ids) < vocab_size:
        return ""
    strange = next(token for token in ids if not 0 <= token < vocab_size)
    return (
        f"token id {strange} is outside the model's vocabulary of {vocab_size}; use the model's own tokenizer"
    )


def failure(request_id: str, problem: str) -> TokenDelta:
    """The last delta of a request that failed."""
    return TokenDelta(request_id=request_id, finish_reason="error", error=problem)
