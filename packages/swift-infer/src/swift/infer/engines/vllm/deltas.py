"""vLLM's outputs as our deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from swift.core.types import FinishReason, TokenDelta

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput

REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort", "error": "error"}
"""vLLM's own words that mean the same here."""


def delta(request_id: str, output: RequestOutput, most: int | None) -> TokenDelta:
    """What one output adds to its request.

    Args:
        request_id: ours; vLLM's has a suffix.
        most: alternatives asked for beside the drawn token; None: no log-probabilities.
    """
    (answer,) = output.outputs
    reason = None if answer.finish_reason is None else REASONS.get(answer.finish_reason, "stop")
    tokens = tuple(answer.token_ids)
    logprobs, top = (None, None) if most is None else chosen(tokens, answer.logprobs or (), most)
    return TokenDelta(
        request_id=request_id,
        token_ids=tokens,
        text=answer.text,
        logprobs=logprobs,
        top_logprobs=top,
        finish_reason=reason,
        error="vLLM failed at this request" if reason == "error" else None,
    )


def chosen(
    tokens: Sequence[int], rows: Sequence[Mapping[int, Any]], most: int
) -> tuple[tuple[float, ...], tuple[dict[int, float], ...] | None]:
    """(log-probability of each token, its likeliest alternatives or None).

    vLLM gives the drawn token beside the likeliest ones, with its rank: it is among them or goes.
    """
    values = tuple(float(row[token].logprob) for token, row in zip(tokens, rows, strict=True))
    if most == 0:
        return values, None
    return values, tuple(likeliest(row, most) for row in rows)


def likeliest(row: Mapping[int, Any], most: int) -> dict[int, float]:
    """The first `most` tokens of a position by rank."""
    ranked = sorted(row.items(), key=lambda item: cast(int, item[1].rank))
    return {token: float(entry.logprob) for token, entry in ranked[:most]}


def failure(request_id: str, problem: str, *, refused: bool = False) -> TokenDelta:
    """The last delta of a request that failed; refused: by its own fault."""
    return TokenDelta(request_id=request_id, finish_reason="error", error=problem, refused=refused)
