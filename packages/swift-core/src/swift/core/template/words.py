"""Tokenising by memory: text is cut where no token can cross, and each distinct piece is tokenised once.

Byte-level BPE tokenizers first cut text by a regular expression. In the patterns listed here a match
contains a space at its start or consists of white space only; so between a character that is not white space
and a following space there is always a cut, and both sides are tokenised independently. Natural text
repeats such pieces (mostly words) all the time, and a dictionary look-up costs a fraction of the merges.
A tokenizer with a pattern that is not listed takes the ordinary path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer

MEMORY = 1 << 19
"""Most pieces that are remembered (about 100 MB); then the memory starts afresh."""

LONGEST = 64
"""Longer pieces (text without spaces) hardly ever recur and are not remembered."""

_UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_MARKS = r" ?[^\s\p{L}\p{N}]+"
_SPACE = r"\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"

PATTERNS = frozenset(
    {
        rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{_MARKS}|{_SPACE}",  # GPT-2
        rf"{_SHORT}|{_WORD}|\p{{N}}|{_MARKS}[\r\n]*|\s*[\r\n]+|{_SPACE}",  # Qwen2, Qwen3
        rf"{_SHORT}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}[\r\n]*|\s*[\r\n]+|{_SPACE}",  # Llama 3, GPT-4
        rf"{_UPPER}*{_LOWER}+{_SHORT}?|{_UPPER}+{_LOWER}*{_SHORT}?|\p{{N}}{{1,3}}|{_MARKS}[\r\n/]*"
        rf"|\s*[\r\n]+|{_SPACE}",  # GPT-4o
        rf"{_UPPER}*{_LOWER}+|{_UPPER}+{_LOWER}*|\p{{N}}|{_MARKS}[\r\n/]*|\s*[\r\n]+|{_SPACE}",  # Tekken
    }
)
"""Patterns in which a space is the first character of a match, or the match is all white space."""

_BESIDE_SPACE = re.compile(r"\s ")
_SAFE_CUT = re.compile(r" (?<=\S )")  # begins with the space, so that the search skips from space to space


def has_safe_cuts(backend: Tokenizer) -> bool:
    """Whether texts may be cut before a space that follows a character that is not white space."""
    model = backend.model
    normalizer = _state(backend.normalizer)
    return (
        type(model).__name__ == "BPE"
        and not getattr(model, "dropout", None)
        and (normalizer is None or normalizer["type"] == "NFC")
        and _cuts_safely(_state(backend.pre_tokenizer))
        and all(_is_plain(token, normalizer) for token in backend.get_added_tokens_decoder().values())
    )


def _state(part: Any) -> dict[str, Any] | None:
    return None if part is None else json.loads(part.__getstate__())


def _cuts_safely(state: dict[str, Any] | None) -> bool:
    steps = (state or {}).get("pretokenizers", [state] if state else [])
    return bool(steps) and all(map(_is_safe_step, steps)) and any(map(_has_pattern, steps))


def _is_safe_step(step: dict[str, Any]) -> bool:
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    return step["type"] == "Digits" or _has_pattern(step)


def _has_pattern(step: dict[str, Any]) -> bool:
    if step["type"] == "ByteLevel":
        return bool(step["use_regex"])  # the pattern of GPT-2
    if step["type"] != "Split" or step["behavior"] != "Isolated" or step["invert"]:
        return False
    return step["pattern"].get("Regex") in PATTERNS


def _is_plain(token: AddedToken, normalizer: Any) -> bool:
    return not (token.lstrip or token.rstrip or token.single_word or (token.normalized and normalizer))


def token_at(encoding: Encoding, start: int, end: int) -> int | None:
    """Index of the first token that covers a character of text[start:end].

    Offsets may leave a token's leading space out, so the first character alone is not enough.
    """
    for character in range(start, end):
        token = encoding.char_to_token(character)
        if token is not None:
            return int(token)
    return None


class WordMemory:
    """Tokens of pieces of text as little-endian int32 bytes.

    Args:
        backend: a tokenizer for which has_safe_cuts() holds.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self.backend = backend
        self._tails: dict[str, bytes] = {}  # keyed without the space in front
        self._heads: dict[int, dict[str, tuple[bytes, int]]] = {}  # by the border's place

    def encode(self, texts: Sequence[str], border: int = 0) -> tuple[list[bytes], list[int]]:
        """Tokens of texts without added tokens, and how many of them lie before a border.

        Args:
            border: a character's place before which no text can be cut; the token that covers it counts
                as behind the border.
        """
        firsts: list[str] = []
        rests: list[list[str]] = []
        for text in texts:
            pieces = text.split(" ") if _BESIDE_SPACE.search(text) is None else _SAFE_CUT.split(text)
            firsts.append(pieces[0])
            del pieces[0]
            rests.append(pieces)
        heads = self._learn_heads(firsts, border)
        first_tokens = [heads[first] for first in firsts]
        encoded = [head[0] for head in first_tokens]
        unknown = self._append_tails(encoded, rests, range(len(rests)))
        if unknown:
            self._learn_tails([rests[row] for row in unknown])
            self._append_tails(encoded, rests, unknown)
        self._forget()
        return encoded, [head[1] for head in first_tokens]

    def _append_tails(self, encoded: list[bytes], rests: list[list[str]], rows: Iterable[int]) -> list[int]:
        """Complete the rows whose pieces are all remembered; the others."""
        join, look_up = b"".join, self._tails.__getitem__
        unknown = []
        for row in rows:
            try:
                encoded[row] += join(map(look_up, rests[row]))
            except KeyError:
                unknown.append(row)
        return unknown

    def _learn_tails(self, rests: list[list[str]]) -> None:
        unknown = list(set().union(*rests) - self._tails.keys())
        found = self.backend.encode_batch_fast([" " + piece for piece in unknown], add_special_tokens=False)
        self._tails.update(zip(unknown, map(_as_bytes, found), strict=True))

    def _learn_heads(self, firsts: list[str], border: int) -> dict[str, tuple[bytes, int]]:
        heads = self._heads.setdefault(border, {})
        unknown = list(set(firsts) - heads.keys())
        encode = self.backend.encode_batch if border else self.backend.encode_batch_fast  # fast: no offsets
        for piece, found in zip(unknown, encode(unknown, add_special_tokens=False), strict=True):
            token = token_at(found, border, len(piece)) if border else 0
            heads[piece] = (_as_bytes(found), len(found.ids) if token is None else token)
        return heads

    def _forget(self) -> None:
        if len(self._tails) > MEMORY:
            self._tails.clear()
        for heads in self._heads.values():
            if len(heads) > MEMORY:
                heads.clear()


def _as_bytes(encoding: Encoding) -> bytes:
    return np.array(encoding.ids, dtype="<i4").tobytes()
