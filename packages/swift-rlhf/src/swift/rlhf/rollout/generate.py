"""Completions of prompts from an engine: token ids in, token ids out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, SamplingParams, TokenDelta


class Generates(Protocol):
    """What roll-outs ask of an engine."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """As Engine.generate()."""
        ...


@dataclass
class Completion:
    """What comes after one prompt.

    Attributes:
        token_ids: tokens as they were drawn, the closing EOS included; between the answers of several turns
            also what an environment replied.
        drawn: for each token whether the model drew it.
        text: the (last) answer without special tokens.
        complete: ended by itself, not by a limit.
    """

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    complete: bool = False
    drawn: list[bool] = field(default_factory=list)

    def add(self, token_ids: Sequence[int], *, drawn: bool) -> None:
        """Go on with these tokens."""
        self.token_ids.extend(token_ids)
        self.drawn.extend([drawn] * len(token_ids))


def request_seed(seed: int, step: int, index: int, turn: int = 0) -> int:
    """Seed of one request: repeated by a resumed run, unrelated to those of other steps and requests."""
    numbers = (seed, step, index, turn) if turn else (seed, step, index)
    digest = hashlib.sha256("/".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def roll_out(
    engine: Generates,
    prompts: Sequence[Sequence[int]],
    num_generations: int,
    sampling: SamplingParams,
    *,
    seed: int,
    step: int,
    first_index: int = 0,
) -> list[Completion]:
    """num_generations completions of each prompt, prompt by prompt, generated all at once.

    Args:
        seed, step: with a request's index they decide what is drawn.
        first_index: index of the first request among those of all ranks.

    Raises:
        EngineError: a request failed or never finished.
    """
    return generate(
        engine,
        [
            GenerationRequest(
                request_id=str(index),
                prompt_ids=tuple(prompts[index // num_generations]),
                sampling=replace(sampling, seed=request_seed(seed, step, first_index + index)),
            )
            for index in range(len(prompts) * num_generations)
        ],
    )


def generate(engine: Generates, requests: Sequence[GenerationRequest]) -> list[Completion]:
    """The completion of each request, in order.

    Raises:
        EngineError: a request failed or never finished.
    """
    completions = {request.request_id: Completion() for request in requests}
    unfinished = set(completions)
    for delta in engine.generate(requests):
        _extend(completions[delta.request_id], delta)
        if delta.finish_reason is not None:
            unfinished.discard(delta.request_id)
    if unfinished:
        raise EngineError(f"the engine left {len(unfinished)} of {len(requests)} roll-outs unfinished")
    return [completions[request.request_id] for request in requests]


def _extend(completion: Completion, delta: TokenDelta) -> None:
    completion.add(delta.token_ids, drawn=True)
    completion.text += delta.text
    if delta.finish_reason in ("error", "abort"):
        raise EngineError(f"roll-out {delta.request_id} failed: {delta.error or delta.finish_reason}")
    completion.complete = completion.complete or delta.finish_reason == "stop"
