"""Why a request cannot be run, in words for the one who sent it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from swift.core.types import GenerationRequest, SamplingParams


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


def problem(request: GenerationRequest, limits: Limits, limit: int) -> str:
    """What is wrong with a request, or nothing.

    Args:
        limit: most new tokens, with the context taken into account.
    """
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
    return (
        _strange(request.prompt_ids, limits.vocab_size, "token id")
        or _strange((token for token, _ in request.sampling.logit_bias), limits.vocab_size, "logit_bias for")
        or _strange(request.sampling.stop_token_ids, limits.vocab_size, "stop_token_ids: id")
        or next(_out_of_range(request.sampling), "")
    )


def _strange(ids: Iterable[int], vocab_size: int, what: str) -> str:
    strange = next((token for token in ids if not 0 <= token < vocab_size), None)
    if strange is None:
        return ""
    return (
        f"{what} {strange} is outside the model's vocabulary of {vocab_size}; use the model's own tokenizer"
    )


def _out_of_range(params: SamplingParams) -> Iterator[str]:
    """Values that no formula takes; a comparison with NaN is false."""
    if not 0.0 <= params.temperature < math.inf:
        yield f"temperature is {params.temperature}; it must be a number of at least 0"
    if not 0.0 < params.top_p <= 1.0:
        yield f"top_p is {params.top_p}; it must lie above 0 and be at most 1"
    if not 0.0 <= params.min_p <= 1.0:
        yield f"min_p is {params.min_p}; it must lie between 0 and 1"
    if params.top_k < 0:
        yield f"top_k is {params.top_k}; it must be 0 (off) or more"
    if not 0.0 < params.repetition_penalty < math.inf:
        yield f"repetition_penalty is {params.repetition_penalty}; it must be a number above 0 (1: off)"
    added = (params.frequency_penalty, params.presence_penalty, *(bias for _, bias in params.logit_bias))
    if not all(math.isfinite(value) for value in added):
        yield "frequency_penalty, presence_penalty and logit_bias must be finite numbers"
