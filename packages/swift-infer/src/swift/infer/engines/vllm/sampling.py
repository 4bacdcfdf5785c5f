"""Our sampling as vLLM takes it, in this process or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from swift.core.types import Constraint, SamplingParams

if TYPE_CHECKING:
    from vllm.sampling_params import SamplingParams as VllmSampling

SEED_BITS = 63


def vllm_sampling(params: SamplingParams, room: int) -> VllmSampling:
    """The same draw.

    Args:
        room: tokens that the context has left for the answer.

    Raises:
        ValueError: vLLM refuses a value.
    """
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
    from vllm.sampling_params import SamplingParams as VllmSampling

    told = fields(params)
    constraint = told.pop("structured_outputs", None)
    told["max_tokens"] = min(params.max_tokens, room)
    return VllmSampling(
        **told,
        structured_outputs=constraint and StructuredOutputsParams(**constraint),
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,
    )


def fields(params: SamplingParams) -> dict[str, Any]:
    """Fields of vLLM's SamplingParams, without those that ask for nothing."""
    told: dict[str, Any] = {
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_p": params.min_p,
        "stop": list(params.stop),
        "stop_token_ids": list(params.stop_token_ids),
        "seed": None if params.seed is None else params.seed & ((1 << SEED_BITS) - 1),
        "logprobs": params.logprobs,
        "ignore_eos": params.ignore_eos,
        "repetition_penalty": params.repetition_penalty,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "logit_bias": dict(params.logit_bias) or None,
        "structured_outputs": structured(params.constraint),
    }
    return {name: value for name, value in told.items() if value is not None}


def structured(constraint: Constraint | None) -> dict[str, Any] | None:
    """Fields of vLLM's StructuredOutputsParams.

    Raises:
        ValueError: it cannot be read.
    """
    if constraint is None:
        return None
    if constraint.kind == "json_object":
        return {"json_object": True}
    if constraint.kind == "choice":
        return {"choice": json.loads(constraint.value)}
    return {{"json_schema": "json"}.get(constraint.kind, constraint.kind): constraint.value}
