"""Reading prompts: several short ones in one pass, a long one in chunks, equal ones once."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from transformers.cache_utils import Cache

from swift.core.types import Batch
from swift.infer.engines.transformers.model import LiveModel
from swift.infer.engines.transformers.prefixes import Prefixes
from swift.infer.engines.transformers.sequence import Prompt, Sequence

ALIKE = 0.5  # prompts share a pass when the shortest has at least this share of the longest one's tokens


class Prefill:
    """A batch of prompts whose keys and values are being computed.

    Prompts are padded on the right: a causal model never looks there, so no mask is needed. The last token of
    each is left to the first decoding step, which then samples from it as from any other.
    """

    def __init__(self, sequences: Items[Sequence], known: int = 0) -> None:
        self.sequences = list(sequences)
        self._known = known
        self._prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
        self._length = max(len(prompt.tokens) for prompt in self._prompts)
        self._media = self.sequences[0].media
        self.read = 0
        self._cache: Cache | None = None

    @property
    def done(self) -> bool:
        """Whether every prompt has been read."""
        return self.read >= self._length

    @property
    def left(self) -> int:
        """Tokens still to be read, with their padding."""
        return (self._length - max(self.read, self._known)) * len(self._prompts)

    def advance(self, model: LiveModel, max_tokens: int, prefixes: Prefixes) -> None:
        """Read the next columns, at most max_tokens tokens with their padding (but at least one column)."""
        if self._cache is None:
            self._begin(model, prefixes)
            if self.done:
                return
        columns = max(1, max_tokens // len(self._prompts)) if self._media is None else self._length
        start, stop = self.read, min(self._length, self.read + columns)
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
        self.read = stop

    def _begin(self, model: LiveModel, prefixes: Prefixes) -> None:
        if self._known and all(prefixes.known(prompt) >= self._known for prompt in self._prompts):
            self._cache, self.read = prefixes.start(self._prompts, self._known), self._known
        else:  # nothing is known, or no longer
            self._cache, self.read = model.new_cache(len(self._prompts)), model.virtual_tokens

    def keep(self, prefixes: Prefixes) -> None:
        """Leave the prompts' keys and values to those that come later."""
        assert self._cache is not None
        for index, prompt in enumerate(self._prompts):
            prefixes.keep(prompt, self._cache, index)

    def rows(self) -> list[tuple[Sequence, Cache, int, int]]:
        """(sequence, cache, index in that cache, tokens to take) for every sequence."""
        assert self._cache is not None
        index = {prompt: number for number, prompt in enumerate(self._prompts)}
        return [(one, self._cache, index[one.prompt], len(one.prefix)) for one in self.sequences]


def group(sequences: Items[Sequence], max_tokens: int, prefixes: Prefixes) -> tuple[list[Sequence], int]:
    """(the first sequence and those behind it that are read in the same pass, tokens of each known before).

    A prompt that begins like another one of the pass, further than is known, waits until that one is read.

    Args:
        max_tokens: most tokens of the pass, padding included; equal prompts count once.
    """
    first = sequences[0]
    chosen, prompts = [first], {first.prompt}
    known = prefixes.known(first.prompt)
    shortest = longest = len(first.prefix)
    for one in sequences[1:]:
        low, high = min(shortest, len(one.prefix)), max(longest, len(one.prefix))
        count = len(prompts | {one.prompt})
        if low < ALIKE * high or count * (high - known) > max_tokens:
            continue
        if count > 1 and (one.media is not None or first.media is not None):
            continue  # a prompt with images is read alone, in one pass
        if one.prompt not in prompts and not _beside(one.prompt, first.prompt, known, prefixes):
            continue
        prompts.add(one.prompt)
        chosen.append(one)
        shortest, longest = low, high
    return chosen, known


def _beside(prompt: Prompt, first: Prompt, known: int, prefixes: Prefixes) -> bool:
    """Whether two prompts are known equally far, and nothing is gained by reading one after the other."""
    return prefixes.known(prompt) == known and prefixes.gain(prompt, first) <= known
