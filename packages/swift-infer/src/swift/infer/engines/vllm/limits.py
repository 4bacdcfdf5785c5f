"""Which requests vLLM is not given."""

from __future__ import annotations

from swift.core.types import GenerationRequest


def problem(request: GenerationRequest, max_length: int, vocab_size: int, images: bool) -> str:
    """Why a request cannot be run; empty: it can."""
    ids, count = request.prompt_ids, len(request.prompt_ids)
    if count == 0:
        return "the prompt holds no token; send at least one"
    if request.sampling.max_tokens < 1:
        return f"max_tokens is {request.sampling.max_tokens}; ask for at least 1"
    if count >= max_length:
        return f"the prompt has {count} tokens, the model's context {max_length}; shorten the prompt"
    if request.images and not images:
        return "this model takes no images; send text only"
    if min(ids) < 0 or max(ids) >= vocab_size:
        strange = next(token for token in ids if not 0 <= token < vocab_size)
        return (
            f"token id {strange} is outside the model's vocabulary of {vocab_size}; "
            "use the model's own tokenizer"
        )
    return ""
