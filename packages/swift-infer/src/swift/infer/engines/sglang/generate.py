"""SGLang's POST /generate (0.5.23): token ids in and out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swift.core.types import Constraint, GenerationRequest, SamplingParams
from swift.infer.engines.http.choices import choice_regex
from swift.infer.engines.http.dialect import Unsupported, data_url
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.pieces import Piece, PieceReader

CONSTRAINTS = frozenset({"json_schema", "json_object", "regex", "choice", "grammar"})


@dataclass(frozen=True)
class GenerateDialect:
    """SGLang's own API, for a server that streams disjoint pieces (--incremental-streaming-output).

    Attributes:
        seeds: the server was started with --enable-deterministic-inference; without it, it ignores them.
        served: the server's name of an adapter.
    """

    seeds: bool = False
    served: Callable[[str], str] = str

    def written(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """A generate request.

        Raises:
            Unsupported: a seed without seeds, or stop strings beside stop tokens.
        """
        sampling = request.sampling
        if sampling.seed is not None and not self.seeds:
            raise Unsupported(f"seed {sampling.seed} cannot be honoured: set infer.deterministic for SGLang")
        if sampling.stop and sampling.stop_token_ids:
            raise Unsupported(
                "SGLang cannot cut stop strings and stop_token_ids out of one text: use one kind"
            )
        body: dict[str, Any] = {
            "rid": request.request_id,
            "input_ids": list(request.prompt_ids),
            "sampling_params": parameters(sampling),
            "stream": True,
        }
        if sampling.logprobs is not None:
            body |= {"return_logprob": True, "top_logprobs_num": sampling.logprobs}
        if request.images:
            body["image_data"] = [data_url(image) for image in request.images]
        if request.adapter is not None:
            body["lora_path"] = self.served(request.adapter)
        return "/generate", body

    def reader(self, request: GenerationRequest) -> PieceReader:
        """Reads piece()s."""
        return PieceReader(request, piece)


def piece(event: dict[str, Any]) -> Piece:
    """{"text", "output_ids", "meta_info"}.

    Raises:
        ServerFault: SGLang gave the request up.
    """
    meta = event.get("meta_info") or {}
    ended = meta.get("finish_reason") or {}
    if ended.get("type") == "abort":
        raise ServerFault(f"SGLang gave the request up: {ended.get('message') or 'aborted'}")
    return Piece(
        ids=tuple(event.get("output_ids") or ()),
        text=event.get("text") or "",
        finish=ended.get("type"),
        logprobs=meta.get("output_token_logprobs"),
        tops=meta.get("output_top_logprobs"),
    )


def parameters(sampling: SamplingParams) -> dict[str, Any]:
    """sampling_params; every one is written, so that no default of the server's fills in."""
    return {
        "max_new_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "ignore_eos": sampling.ignore_eos,
        "stop": list(sampling.stop) or None,
        "no_stop_trim": bool(sampling.stop),  # pieces of a stop string may have been sent: it is cut out here
        "stop_token_ids": list(sampling.stop_token_ids) or None,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias} or None,
        "sampling_seed": sampling.seed,
        **constrained(sampling.constraint),
    }


def constrained(constraint: Constraint | None) -> dict[str, str]:
    """json_schema, regex or ebnf."""
    if constraint is None:
        return {}
    if constraint.kind == "json_object":
        return {"json_schema": '{"type": "object"}'}
    if constraint.kind == "choice":
        return {"regex": choice_regex(constraint.value)}
    name = {"json_schema": "json_schema", "regex": "regex", "grammar": "ebnf"}[constraint.kind]
    return {name: constraint.value}
