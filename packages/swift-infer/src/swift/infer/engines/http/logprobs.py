"""Log-probabilities as servers write them, by token id."""

from __future__ import annotations

from typing import Any

from swift.infer.engines.http.faults import ServerFault

TOKEN_ID = "token_id:"  # how vLLM writes a token where ids are asked for (return_tokens_as_token_ids)


def pairs(
    chosen: Any, tops: Any, count: int, asked: int
) -> tuple[tuple[float, ...], tuple[dict[int, float], ...] | None]:
    """Log-probabilities from rows of (value, token id, ...), as far as they are asked for.

    Raises:
        ServerFault: not one for each token.
    """
    values = tuple(float(one[0]) for one in chosen or ())
    if len(values) != count or (asked and len(tops or ()) != count):
        raise ServerFault(f"the server gives {len(values)} log-probabilities for {count} tokens")
    if not asked:
        return values, None
    return values, tuple(likeliest({int(one[1]): float(one[0]) for one in top}, asked) for top in tops)


def token_id(token: str) -> int:
    """7 of "token_id:7".

    Raises:
        ServerFault: a token that is not written by its id.
    """
    try:
        return int(token.removeprefix(TOKEN_ID))
    except ValueError as error:
        raise ServerFault("the server writes tokens of log-probabilities as text, not as ids") from error


def likeliest(top: dict[int, float], count: int) -> dict[int, float]:
    """The count likeliest tokens, best first."""
    ranked = sorted(top.items(), key=lambda item: -item[1])
    return dict(ranked[:count])
