"""What a request adds to or takes from single logits, by the tokens of its prompt and answer so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swift.core.types import SamplingParams


class Penalties:
    """logit_bias, then repetition_penalty r, then frequency_penalty f and presence_penalty p of a request.

    x += bias;  x = x / r if x > 0 else x * r, for tokens of prompt and answer;  x -= f * count + p, for
    tokens of the answer. Only the logits of these tokens are touched.

    Args:
        params: how the request samples.
        prompt: its tokens.

    Attributes:
        ids: int64 [N], tokens whose logits change by what was read or written.
        counts: float32 [N], how often each stands in the answer.
        biased, bias: tokens of logit_bias and what is added to them.
    """

    def __init__(self, params: SamplingParams, prompt: Iterable[int]) -> None:
        self.params = params
        known = dict.fromkeys(prompt) if params.repetition_penalty != 1.0 else {}
        self._slots = {token: slot for slot, token in enumerate(known)}
        self.ids = torch.tensor(list(known), dtype=torch.long)
        self.counts = torch.zeros(len(known))
        bias = dict(params.logit_bias)
        self.biased = torch.tensor(list(bias), dtype=torch.long)
        self.bias = torch.tensor(list(bias.values()), dtype=torch.float32)

    def add(self, token: int) -> None:
        """Count a token of the answer."""
        slot = self._slots.get(token)
        if slot is None:
            self._slots[token] = len(self._slots)
            self.ids = torch.cat([self.ids, torch.tensor([token])])
            self.counts = torch.cat([self.counts, torch.ones(1)])
        else:
            self.counts[slot] += 1


def penalise(logits: torch.Tensor, penalised: Mapping[int, Penalties]) -> None:
    """Change the logits [B, V], float32, of some rows in place; all of them at once.

    Args:
        penalised: row -> what the request in it asks for.
    """
    if not penalised:
        return
    device, asked = logits.device, list(penalised.values())
    at = np.array(list(penalised))
    biased = _repeated(at, [len(one.biased) for one in asked]).to(device)
    bias = torch.cat([one.bias for one in asked]).to(device)
    logits[biased, torch.cat([one.biased for one in asked]).to(device)] += bias
    lengths = [len(one.ids) for one in asked]
    settings = [one.params for one in asked]
    r = _repeated(np.array([one.repetition_penalty for one in settings], np.float32), lengths).to(device)
    f = _repeated(np.array([one.frequency_penalty for one in settings], np.float32), lengths).to(device)
    p = _repeated(np.array([one.presence_penalty for one in settings], np.float32), lengths).to(device)
    counts = torch.cat([one.counts for one in asked]).to(device)
    # one index is looked up faster than two
    places = _repeated(at * logits.shape[1], lengths) + torch.cat([one.ids for one in asked])
    flat, places = logits.view(-1), places.to(device)
    values = flat.take(places)
    changed = torch.where(values > 0, values / r, values * r) - f * counts - p * (counts > 0)
    flat.scatter_(0, places, changed)


def _repeated(values: npt.NDArray[Any], lengths: Sequence[int]) -> torch.Tensor:
    return torch.from_numpy(np.repeat(values, lengths))  # torch's own takes ten times as long


def penalties(params: SamplingParams, prompt: Iterable[int]) -> Penalties | None:
    """What the request asks for; None: nothing."""
    quiet = (
        params.repetition_penalty == 1.0
        and params.frequency_penalty == 0.0
        and params.presence_penalty == 0.0
        and not params.logit_bias
    )
    return None if quiet else Penalties(params, prompt)
