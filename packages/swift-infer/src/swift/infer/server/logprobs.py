"""Log-probabilities in the forms of the two endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from swift.core.types import TokenDelta

LEAST = -9999.0  # JSON has no infinity
Decode = Callable[[int], str]


def chat_logprobs(decode: Decode, delta: TokenDelta) -> list[dict[str, Any]] | None:
    """Of a delta's tokens, as the chat API writes them."""
    if delta.logprobs is None:
        return None
    return [
        {**_entry(decode, token, value), "top_logprobs": [_entry(decode, *pair) for pair in top.items()]}
        for token, value, top in _rows(delta)
    ]


def text_logprobs(decode: Decode, delta: TokenDelta, offset: int) -> dict[str, list[Any]] | None:
    """Of a delta's tokens, as the completions API writes them.

    Args:
        offset: characters of the answer before this delta.
    """
    if delta.logprobs is None:
        return None
    rows = list(_rows(delta))
    return {
        "tokens": [decode(token) for token, _, _ in rows],
        "token_logprobs": [max(value, LEAST) for _, value, _ in rows],
        "top_logprobs": [
            {decode(other): max(value, LEAST) for other, value in top.items()} for _, _, top in rows
        ],
        "text_offset": [offset] * len(rows),
    }


def _rows(delta: TokenDelta) -> Iterator[tuple[int, float, dict[int, float]]]:
    tops = delta.top_logprobs or ({},) * len(delta.token_ids)
    return zip(delta.token_ids, delta.logprobs or (), tops, strict=True)


def _entry(decode: Decode, token: int, logprob: float) -> dict[str, Any]:
    text = decode(token)
    return {"token": text, "logprob": max(logprob, LEAST), "bytes": list(text.encode())}
