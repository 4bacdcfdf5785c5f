"""LMDeploy's HTTP API (0.18.0), with token ids in and out.

/v1/chat/completions takes input_ids in place of messages, and seeds, adapters, constraints and biases;
/generate alone gives the likeliest tokens by id and takes stop tokens. A request that needs both is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from swift.core.types import Constraint, GenerationRequest, SamplingParams
from swift.infer.engines.http.choices import choice_regex
from swift.infer.engines.http.dialect import Unsupported, refuse
from swift.infer.engines.http.openai_chat import with_images
from swift.infer.engines.http.pieces import Piece, PieceReader

CONSTRAINTS = frozenset({"json_schema", "json_object", "regex", "choice"})
NEVER = ("frequency_penalty", "presence_penalty")
CHAT_ONLY = ("seed", "logit_bias", "constraint")


@dataclass(frozen=True)
class LmdeployDialect:
    """LMDeploy's chat API, or its /generate where only that will do.

    Attributes:
        model: what is asked for where a request names no adapter.
        served: the server's name of an adapter.
    """

    model: str
    served: Callable[[str], str] = str

    def written(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """A chat or generate request.

        Raises:
            Unsupported: a parameter that LMDeploy has not, or several that no single path of it has.
        """
        refuse(request, NEVER, "LMDeploy has repetition_penalty only")
        if by_generate(request):
            return "/generate", self._generate(request)
        return "/v1/chat/completions", self._chat(request)

    def reader(self, request: GenerationRequest) -> PieceReader:
        """Reads piece()s."""
        return PieceReader(request, piece)

    def _generate(self, request: GenerationRequest) -> dict[str, Any]:
        why = (
            "LMDeploy has it on another path than logprobs above 0 and stop_token_ids; leave one of them out"
        )
        refuse(request, CHAT_ONLY, why)
        if request.adapter is not None or request.images:
            raise Unsupported(f"an adapter or an image cannot be honoured: {why}")
        sampling = request.sampling
        body = {
            "input_ids": list(request.prompt_ids),
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": list(sampling.stop_token_ids) or None,
            **common(sampling),
        }
        if sampling.logprobs is not None:
            body |= {"return_logprob": True, "top_logprobs_num": sampling.logprobs or None}
        return body

    def _chat(self, request: GenerationRequest) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model if request.adapter is None else self.served(request.adapter),
            "messages": [],
            "input_ids": list(request.prompt_ids),
            "max_completion_tokens": sampling.max_tokens,
            "return_token_ids": True,
            "return_logprob": sampling.logprobs is not None,
            "seed": sampling.seed,
            **common(sampling),
            **constrained(sampling.constraint),
        }
        if sampling.logit_bias:
            body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
        if request.images:  # its placeholders are LMDeploy's own, so it renders the chat itself
            if request.messages is None:
                raise Unsupported("images without messages cannot be sent to LMDeploy: send a chat")
            del body["input_ids"]
            body["messages"] = with_images(request)
        return body


def by_generate(request: GenerationRequest) -> bool:
    """Whether only /generate can answer."""
    return bool(request.sampling.logprobs) or bool(request.sampling.stop_token_ids)


def piece(event: dict[str, Any]) -> Piece:
    """What either path says.

    The token that ends an answer is given with its text, which is no part of the answer.
    """
    told = _generated(event) if "meta_info" in event else _chatted(event)
    return replace(told, text="") if told.finish == "stop" and told.ids else told


def _generated(event: dict[str, Any]) -> Piece:
    meta = event["meta_info"]
    return Piece(
        ids=tuple(event.get("output_ids") or ()),
        text=event.get("text") or "",
        finish=(meta.get("finish_reason") or {}).get("type"),
        logprobs=meta.get("output_token_logprobs"),
        tops=meta.get("output_top_logprobs"),
    )


def _chatted(event: dict[str, Any]) -> Piece:
    choice = (event.get("choices") or [{}])[0]
    return Piece(
        ids=tuple(choice.get("output_ids") or ()),
        text=(choice.get("delta") or {}).get("content") or "",
        finish=choice.get("finish_reason"),
        logprobs=choice.get("output_token_logprobs"),
    )


def common(sampling: SamplingParams) -> dict[str, Any]:
    """What both paths take; all values are written: LMDeploy's defaults are not neutral (top_k 50)."""
    return {
        "stream": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "ignore_eos": sampling.ignore_eos,
        "include_stop_str_in_output": True,  # or the token that ends an answer would not be among its ids
    }


def constrained(constraint: Constraint | None) -> dict[str, Any]:
    """response_format.

    Raises:
        Unsupported: a grammar.
    """
    if constraint is None:
        return {}
    if constraint.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if constraint.kind == "json_schema":
        schema = {"name": "answer", "schema": json.loads(constraint.value)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if constraint.kind == "grammar":
        raise Unsupported(
            "the constraint 'grammar' cannot be honoured: LMDeploy has JSON schemas and regex only"
        )
    regex = choice_regex(constraint.value) if constraint.kind == "choice" else constraint.value
    return {"response_format": {"type": "regex_schema", "regex_schema": regex}}
