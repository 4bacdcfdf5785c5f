"""The tokens that a tokenizer itself puts around a text ([CLS] and [SEP], a beginning or an end of text)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swift.core.errors import ModelError
from swift.core.template.tokens import Tokens
from swift.core.types import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "a"


class SpecialTokens:
    """What tokenizer(text) adds before and after the tokens of the text.

    Raises:
        ModelError: the tokenizer changes the text's own tokens as well.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        plain: list[int] = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
        whole: list[int] = tokenizer(PROBE)["input_ids"]
        starts = [
            start
            for start in range(len(whole) - len(plain) + 1)
            if whole[start : start + len(plain)] == plain
        ]
        if not starts:
            raise ModelError(
                "cannot tell which special tokens the tokenizer puts around a text",
                "use rows with messages, which the chat template renders",
            )
        self.before = np.array(whole[: starts[0]], dtype=np.int32)
        self.after = np.array(whole[starts[0] + len(plain) :], dtype=np.int32)

    def around(self, tokens: Tokens) -> Tokens:
        """The tokens of a text as tokenizer(text) gives them; nothing is learned in them."""
        ids = np.concatenate([self.before, tokens[0], self.after])
        return ids, np.full_like(ids, IGNORE_INDEX), None
