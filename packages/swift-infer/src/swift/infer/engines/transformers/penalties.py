"""What a request adds to or takes from single logits, by the tokens of its prompt and answer so far."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from swift.core.types import SamplingParams


class Penalties:
    """logit_bias, then repetition_penalty r, then frequency_penalty f and presence_penalty p of a request.

    x += bias;  x = x / r if x > 0 else x * r, for tokens of prompt and answer;  x -= f * count + p, for
    tokens of the answer. Only the logits of these tokens are touched.

    Args:
        params: how the request samples.
        prompt: its tokens.
    """

    def __init__(self, params: SamplingParams, prompt: Iterable[int]) -> None:
        self._params = params
        known = dict.fromkeys(prompt) if params.repetition_penalty != 1.0 else {}
        self._slots = {token: slot for slot, token in enumerate(known)}
        self._ids = torch.tensor(list(known), dtype=torch.long)
        self._counts = torch.zeros(len(known))
        bias = dict(params.logit_bias)
        self._biased = torch.tensor(list(bias), dtype=torch.long)
        self._bias = torch.tensor(list(bias.values()))

    def add(self, token: int) -> None:
        """Count a token of the answer."""
        slot = self._slots.get(token)
        if slot is None:
            self._slots[token] = len(self._slots)
            self._ids = torch.cat([self._ids, self._ids.new_tensor([token])])
            self._counts = torch.cat([self._counts, self._counts.new_ones(1)])
        else:
            self._counts[slot] += 1

    def apply(self, logits: torch.Tensor) -> None:
        """Change the logits [V] of one row, float32, in place."""
        if self._ids.device != logits.device:
            self._ids, self._counts = self._ids.to(logits.device), self._counts.to(logits.device)
            self._biased, self._bias = self._biased.to(logits.device), self._bias.to(logits.device)
        logits[self._biased] += self._bias
        values = logits[self._ids]
        r = self._params.repetition_penalty
        if r != 1.0:
            values = torch.where(values > 0, values / r, values * r)
        values -= self._params.frequency_penalty * self._counts
        values -= self._params.presence_penalty * (self._counts > 0)
        logits[self._ids] = values


def penalties(params: SamplingParams, prompt: Iterable[int]) -> Penalties | None:
    """What the request asks for; None: nothing."""
    quiet = (
        params.repetition_penalty == 1.0
        and params.frequency_penalty == 0.0
        and params.presence_penalty == 0.0
        and not params.logit_bias
    )
    return None if quiet else Penalties(params, prompt)
