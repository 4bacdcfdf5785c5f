"""Keys and values of prompts read lately: a prompt that begins like one of them is read from there on.

Shapes: K key heads, T tokens, D head size.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from collections.abc import Sequence as Items

import torch
from transformers.cache_utils import Cache, DynamicCache

from swift.infer.engines.transformers.sequence import Prompt

SHORTEST = 32  # tokens; copying fewer saves nothing
STEP = 16  # shared beginnings count in steps, so that prompts behind the same one are read together

States = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values [K, T, D] of every layer."""


class Prefixes:
    """The prompts read last, each of them whole; found by hashes of their beginnings, a step longer each.

    Args:
        tokens: most tokens kept; 0 switches it off.
    """

    def __init__(self, tokens: int) -> None:
        self._most = tokens
        self._kept: OrderedDict[Prompt, States] = OrderedDict()
        self._beginnings: defaultdict[int, dict[Prompt, None]] = defaultdict(dict)
        self._held = 0

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._kept.clear()
        self._beginnings.clear()
        self._held = 0

    def keep(self, prompt: Prompt, cache: Cache, index: int) -> None:
        """Take prompt `index` of a prefilled cache; forget those that it continues and the oldest ones."""
        length = len(prompt.tokens)
        if not SHORTEST <= length <= self._most or prompt.images or prompt in self._kept:
            return
        _, nearest = self._best(prompt)
        if nearest is not None and shared(nearest, prompt) == len(nearest.tokens):
            self._forget(nearest)
        self._kept[prompt] = [
            (layer.keys[index, :, :length].clone(), layer.values[index, :, :length].clone())
            for layer in cache.layers
        ]
        for beginning in beginnings(prompt):
            self._beginnings[beginning][prompt] = None
        self._held += length
        while self._held > self._most:
            self._forget(next(iter(self._kept)))

    def _forget(self, prompt: Prompt) -> None:
        del self._kept[prompt]
        for beginning in beginnings(prompt):
            self._beginnings[beginning].pop(prompt)
            if not self._beginnings[beginning]:
                del self._beginnings[beginning]
        self._held -= len(prompt.tokens)

    def known(self, prompt: Prompt) -> int:
        """Tokens at the beginning of a prompt that need not be read."""
        return self._best(prompt)[0]

    def gain(self, prompt: Prompt, other: Prompt) -> int:
        """Tokens of a prompt that would be known if another one had been read."""
        if not SHORTEST <= len(other.tokens) <= self._most:
            return 0
        return usable(shared(prompt, other))

    def start(self, prompts: Items[Prompt], length: int) -> Cache:
        """A cache whose rows hold the first tokens of prompts that are all known that far."""
        found = []
        for prompt in prompts:
            _, kept = self._best(prompt)
            assert kept is not None
            self._kept.move_to_end(kept)
            found.append(self._kept[kept])
        cache = DynamicCache()
        for number, layer in enumerate(zip(*found, strict=True)):
            keys, values = (torch.stack([one[side][:, :length] for one in layer]) for side in (0, 1))
            cache.update(keys, values, number)
        return cache

    def _best(self, prompt: Prompt) -> tuple[int, Prompt | None]:
        found: Prompt | None = None
        for beginning in beginnings(prompt):
            if beginning not in self._beginnings:
                break
            found = next(reversed(self._beginnings[beginning]))
        # hashes may be equal by chance: the tokens decide
        length = 0 if found is None else usable(shared(prompt, found))
        return (length, found) if length else (0, None)


def beginnings(prompt: Prompt) -> Iterator[int]:
    """Hashes of the first SHORTEST tokens of a prompt, of a step more, and so on."""
    value = hash((id(prompt.adapter), prompt.images, prompt.tokens[:SHORTEST]))
    for end in range(SHORTEST, len(prompt.tokens) + 1, STEP):
        if end > SHORTEST:
            value = hash((value, prompt.tokens[end - STEP : end]))
        yield value


def usable(length: int) -> int:
    """How much of a shared beginning is taken over."""
    return length // STEP * STEP if length >= SHORTEST else 0


def shared(one: Prompt, other: Prompt) -> int:
    """Tokens at the beginning of both that have the same keys and values."""
    if one.adapter is not other.adapter or one.images or other.images:
        return 0
    low, high = 0, min(len(one.tokens), len(other.tokens))
    if one.tokens[:1] != other.tokens[:1]:
        return 0
    while low < high:  # equal up to low, unequal or unknown up to high
        middle = (low + high + 1) // 2
        if one.tokens[low:middle] == other.tokens[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
