"""A tokenizer as GGUF's metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from swift.core.errors import ModelError

PATTERNS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}
"""Pattern that splits text before merges -> the name that llama.cpp has for it."""


SLOW: dict[str, Any] = {"model": {"type": "slow"}}
"""What is said of a tokenizer that is not a fast one."""


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF keeps of a tokenizer.

    Attributes:
        model: "gpt2" for byte-level merges, "llama" for SentencePiece's.
        pre: name of the pre-tokeniser.
        tokens, types, scores: by token id; scores of SentencePiece alone.
        merges: of byte-level merges alone.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None


def vocabulary(tokenizer: Any, size: int, pre: str | None) -> Vocabulary:
    """The vocabulary of a fast BPE tokenizer, filled up to the model's number of embeddings.

    Args:
        size: of the model's embeddings.
        pre: name of the pre-tokeniser, instead of finding it.

    Raises:
        ModelError: it is no BPE tokenizer, or llama.cpp's name of its pre-tokeniser is not known.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else SLOW
    model = state["model"]
    if model["type"] != "BPE":
        raise ModelError(
            f"a tokenizer of type {model['type']} is not written as GGUF", "it must be BPE (tokenizer.json)"
        )
    tokens = _tokens(model["vocab"], state["added_tokens"], size)
    if model.get("byte_fallback"):
        kinds = _types(tokens, state["added_tokens"], model["vocab"], bytes_too=True)
        return Vocabulary("llama", pre or "default", tokens, kinds, scores=_scores(tokens, kinds))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    kinds = _types(tokens, state["added_tokens"], model["vocab"], bytes_too=False)
    return Vocabulary("gpt2", pre or _pre(state), tokens, kinds, merges=merges)


def _tokens(vocab: dict[str, int], added: list[dict[str, Any]], size: int) -> list[str]:
    known = {index: token for token, index in vocab.items()}
    known |= {one["id"]: one["content"] for one in added}
    return [known.get(index, f"[PAD{index}]") for index in range(max(size, len(known)))]


def _types(
    tokens: list[str], added: list[dict[str, Any]], vocab: dict[str, int], bytes_too: bool
) -> list[int]:
    from gguf import TokenType

    extra = {one["id"]: TokenType.CONTROL if one["special"] else TokenType.USER_DEFINED for one in added}

    def kind(index: int, token: str) -> int:
        if index in extra:
            return int(extra[index])
        if token not in vocab:
            return int(TokenType.UNUSED)
        return int(TokenType.BYTE if bytes_too and _is_byte(token) else TokenType.NORMAL)

    return [kind(index, token) for index, token in enumerate(tokens)]


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _scores(tokens: list[str], types: list[int]) -> list[float]:
    """SentencePiece merges the piece of the highest score first; its ids fall by score."""
    from gguf import TokenType

    return [-float(index) if kind == TokenType.NORMAL else 0.0 for index, kind in enumerate(types)]


def _pre(state: dict[str, Any]) -> str:
    parts = state.get("pre_tokenizer") or {}
    steps = parts.get("pretokenizers", [parts])
    patterns = [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]
    named = [PATTERNS[pattern] for pattern in patterns if pattern in PATTERNS]
    if named:
        return named[0]
    raise ModelError(
        f"llama.cpp's name of this tokenizer's pre-tokeniser is not known; its patterns: {patterns}",
        "set export.tokenizer_pre to it (such as llama-bpe, qwen2, gpt-2)",
    )
