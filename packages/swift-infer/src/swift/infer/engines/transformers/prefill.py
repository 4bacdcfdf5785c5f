"""Reading prompts: several short ones in one pass, a long one in chunks, equal ones once."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from transformers.cache_utils import Cache

from swift.core.types import Batch
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
        self._prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
        self._length = max(len(prompt.tokens) for prompt in self._prompts)
        self._media = self.sequences[0].media
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
        columns = max(1, max_tokens // len(self._prompts)) if self._media is None else self._length
        start, stop = self._read, min(self._length, self._read + columns)
        tokens = [prompt.tokens[start:stop] for prompt in self._prompts]
        ids = [(list(some) + [0] * (stop - start))[: stop - start] for some in tokens]
        positions = torch.arange(start, stop, device=model.device).expand(len(ids), -1)
        inputs: Batch = {
            "position_ids": positions,
            **model.told(len(one.tokens) + 1 for one in self._prompts),
        }
        if self._media is not None:
            inputs |= self._media.inputs(stop, model.device, model.dtype)
        model.logits(
            [prompt.adapter for prompt in self._prompts],
            input_ids=torch.tensor(ids, device=model.device),
            past_key_values=self._cache,
            **inputs,
        )
        self._read = stop

    def rows(self) -> list[tuple[Sequence, Cache, int, int]]:
        """(sequence, cache, index in that cache, tokens to take) for every sequence."""
        assert self._cache is not None
        index = {prompt: number for number, prompt in enumerate(self._prompts)}
        return [(one, self._cache, index[one.prompt], len(one.prefix)) for one in self.sequences]


def group(sequences: Items[Sequence], max_tokens: int) -> list[Sequence]:
    """The first sequence and those behind it that are read in the same pass, in their order.

    Args:
        max_tokens: most tokens of the pass, padding included; equal prompts count once.
    """
    chosen = [sequences[0]]
    prompts = {sequences[0].prompt}
    shortest = longest = len(sequences[0].prefix)
    for one in sequences[1:]:
        low, high = min(shortest, len(one.prefix)), max(longest, len(one.prefix))
        count = len(prompts | {one.prompt})
        if low < ALIKE * high or count * high > max_tokens:
            continue
        if count > 1 and (one.media is not None or chosen[0].media is not None):
            continue  # a prompt with images is read alone, in one pass
        prompts.add(one.prompt)
        chosen.append(one)
        shortest, longest = low, high
    return chosen
