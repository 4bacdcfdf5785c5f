"""Prompts that are being read, a piece before every step, so that running answers go on meanwhile."""

from __future__ import annotations

from collections import deque

import torch
from transformers.cache_utils import Cache

from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.model import LiveModel
from swift.infer.engines.transformers.prefill import Prefill, group
from swift.infer.engines.transformers.prefixes import Prefixes
from swift.infer.engines.transformers.sequence import Sequence

PASSES = 4  # that are read in turn: a long prompt does not keep short ones behind it waiting
SHARE = 4  # a piece is this much smaller where answers wait for it
DEAR = 8192  # tokens read before from where on attention doubles what a token costs


class Reading:
    """Passes in progress; the oldest and the shortest take turns."""

    def __init__(self, model: LiveModel, config: TransformersEngineConfig) -> None:
        self._model = model
        self._most = config.max_batch_tokens
        self._prefixes = Prefixes(0 if model.virtual_tokens else config.prefix_tokens)
        self._weights = 0
        self._passes: list[Prefill] = []
        self._turn = False

    @property
    def sequences(self) -> list[Sequence]:
        """All sequences whose prompts are being read."""
        return [sequence for prefill in self._passes for sequence in prefill.sequences]

    @property
    def full(self) -> bool:
        """Whether no further pass can begin now."""
        return len(self._passes) >= PASSES

    def clear(self) -> None:
        """Drop every pass."""
        self._passes = []

    def forget(self) -> None:
        """The weights have changed: what earlier prompts left is worth nothing."""
        self._prefixes.clear()

    def drop_finished(self) -> None:
        """Let sequences go that were aborted."""
        for prefill in self._passes:
            prefill.sequences = [one for one in prefill.sequences if one.finish_reason is None]
        self._passes = [prefill for prefill in self._passes if prefill.sequences]

    def begin(self, admitted: list[Sequence], waiting: deque[Sequence]) -> None:
        """Start a pass with the first of them; those that cannot share it go back to the front."""
        self._check_weights()
        together, known = group(admitted, self._most, self._prefixes)
        self._passes.append(Prefill(together, known))
        kept = set(map(id, together))
        waiting.extendleft(one for one in reversed(admitted) if id(one) not in kept)

    def advance(self, answering: bool) -> list[tuple[Sequence, Cache, int, int]]:
        """Read a piece; (sequence, cache, index in it, tokens to take) for those whose prompts are done.

        Args:
            answering: whether running answers wait for it.
        """
        if not self._passes:
            return []
        self._check_weights()
        self._turn = not self._turn
        current = min(self._passes, key=lambda one: one.left) if self._turn else self._passes[0]
        budget = self._most
        if answering:
            budget = max(1, int(budget / (SHARE * (1 + current.read / DEAR))))
        current.advance(self._model, budget, self._prefixes)
        if not current.done:
            return []
        self._passes.remove(current)
        current.keep(self._prefixes)
        return current.rows()

    def _check_weights(self) -> None:
        """Optimisers count the changes of a tensor: a trainer that forgot to say so is noticed."""
        version = weights_version(self._model.model)
        if version != self._weights:
            self._prefixes.clear()
        self._weights = version


def weights_version(model: torch.nn.Module) -> int:
    """A number that differs after an in-place change of a parameter."""
    return sum(one._version for one in model.parameters() if not one.is_inference())
