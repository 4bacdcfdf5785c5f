"""Reading prompts: several short ones in one pass, a long one in chunks, equal ones once."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from transformers.cache_utils import Cache

from swift.infer.engines.transformers.model import LiveModel
from swift.infer.engines.transformers.sequence import Sequence

ALIKE = 0.5  # prompts share a pass when the shortest has at least this share of the longest one's tokens


class Prefill:
    """A batch of prompts whose keys and values are being computed.

    Prompts are padded on the right: a causal model never looks there, so no mask is needed. The last token of
    each is left to the first decoding step, which then samples from it as from any other.
    """

    def __init__(self, sequences: Items[Sequence]) -> None:
        self.sequences = list(sequences)
        self._prompts = list(dict.fromkeys(sequence.prefix for sequence in sequences))
        self._length = max(len(prompt) for prompt in self._prompts)
        self._read = 0
        self._cache: Cache | None = None

    @property
    def done(self) -> bool:
        """Whether every prompt has been read."""
        return self._read >= self._length

    def advance(self, model: LiveModel, max_tokens: int) -> None:
        """Read the next columns, at most max_tokens tokens with their padding (but at least one column)."""
        if self._cache is None:
            self._cache, self._read = model.new_cache(len(self._prompts)), model.virtual_tokens
            if self.done:
                return
        columns = max(1, max_tokens // len(self._prompts))
        start, stop = self._read, min(self._length, self._read + columns)
        ids = [(list(prompt[start:stop]) + [0] * (stop - start))[: stop - start] for prompt in self._prompts]
        positions = torch.arange(start, stop, device=model.device).expand(len(ids), -1)
        model.logits(
            input_ids=torch.tensor(ids, device=model.device),
            position_ids=positions,
            past_key_values=self._cache,
            **model.told(len(prompt) + 1 for prompt in self._prompts),
        )
        self._read = stop

    def rows(self) -> list[tuple[Sequence, Cache, int, int]]:
        """(sequence, cache, index in that cache, tokens to take) for every sequence."""
        assert self._cache is not None
        index = {prompt: number for number, prompt in enumerate(self._prompts)}
        return [(one, self._cache, index[one.prefix], len(one.prefix)) for one in self.sequences]


def group(sequences: Items[Sequence], max_tokens: int) -> list[Sequence]:
    """The first sequence and those behind it that are read in the same pass, in their order.

    Args:
        max_tokens: most tokens of the pass, padding included; equal prompts count once.
    """
    chosen = [sequences[0]]
    prompts = {sequences[0].prefix}
    shortest = longest = len(sequences[0].prefix)
    for one in sequences[1:]:
        low, high = min(shortest, len(one.prefix)), max(longest, len(one.prefix))
        count = len(prompts | {one.prefix})
        if low < ALIKE * high or count * high > max_tokens:
            continue
        prompts.add(one.prefix)
        chosen.append(one)
        shortest, longest = low, high
    return chosen
