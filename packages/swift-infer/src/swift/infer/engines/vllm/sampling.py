"""Our sampling as vLLM takes it."""

from __future__ import annotations

import json
from typing import Any

from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.sampling_params import SamplingParams as VllmSampling

from swift.core.types import Constraint, SamplingParams

SEED_BITS = 63


def vllm_sampling(params: SamplingParams, room: int) -> VllmSampling:
    """The same draw.

    Args:
        room: tokens that the context has left for the answer.

    Raises:
        ValueError: vLLM refuses a value.
    """
    return VllmSampling(
        max_tokens=min(params.max_tokens, room),
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        seed=None if params.seed is None else params.seed & ((1 << SEED_BITS) - 1),
        logprobs=params.logprobs,
        ignore_eos=params.ignore_eos,
        repetition_penalty=params.repetition_penalty,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        logit_bias=dict(params.logit_bias) or None,
        structured_outputs=structured(params.constraint),
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,
    )


def structured(constraint: Constraint | None) -> StructuredOutputsParams | None:
    """What vLLM calls a constraint.

    Raises:
        ValueError: it cannot be read.
    """
    if constraint is None:
        return None
    if constraint.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    if constraint.kind == "choice":
        return StructuredOutputsParams(choice=json.loads(constraint.value))
    key = {"json_schema": "json"}.get(constraint.kind, constraint.kind)
    given: dict[str, Any] = {key: constraint.value}
    return StructuredOutputsParams(**given)
