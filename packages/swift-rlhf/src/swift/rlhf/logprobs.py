"""Log-probabilities of the tokens that are learned, with logits only where they are needed.

Shapes: B rows, T tokens, N learned tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swift.core.objectives.logits import keyword_inputs, logits_at, losses_at
from swift.core.types import IGNORE_INDEX, Batch

ROWS = 1024  # positions whose entropy is computed at once: bounds the [rows, V] temporaries


@dataclass(frozen=True)
class TokenLogprobs:
    """What a model says of a batch's learned tokens; entry t belongs to token t + 1.

    Attributes:
        values: float32 [B, T-1] log-probabilities, 0 where nothing is learned.
        mask: bool [B, T-1], true where a token is learned.
        entropy: float32 [B, T-1] without gradient, 0 where nothing is learned; None when not asked for.
    """

    values: Tensor
    mask: Tensor
    entropy: Tensor | None = None


def learned(batch: Batch) -> Tensor:
    """bool [B, T-1]: which next tokens are learned; a row's first token never is."""
    mask: Tensor = batch["labels"][:, 1:] != IGNORE_INDEX
    return mask


def token_logprobs(logits_NV: Tensor, targets_N: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature)[target] in float32 [N], without a log-softmax over the vocabulary."""
    scaled_NV = logits_NV.float() / temperature if temperature != 1.0 else logits_NV.float()
    chosen_N = scaled_NV.gather(-1, targets_N.long().unsqueeze(-1)).squeeze(-1)
    return chosen_N - scaled_NV.logsumexp(-1)


@torch.no_grad()
def token_entropies(logits_NV: Tensor, temperature: float = 1.0) -> Tensor:
    """H = logsumexp(z) - sum_v softmax(z)_v z_v in nats, float32 [N], with z = logits / temperature."""
    parts = []
    for rows_RV in torch.split(logits_NV, ROWS):
        scaled_RV = rows_RV.float() / temperature
        parts.append(scaled_RV.logsumexp(-1) - (scaled_RV.softmax(-1) * scaled_RV).sum(-1))
    return torch.cat(parts)


def batch_logprobs(
    model: nn.Module,
    batch: Batch,
    *,
    own: Sequence[str] = (),
    temperature: float = 1.0,
    entropy: bool = False,
) -> TokenLogprobs:
    """Run the model on a padded batch.

    Args:
        own: keys of the batch that are the objective's, not the model's.
        temperature: that of the sampling, so that the policy that trains is the one that was sampled.
        entropy: also compute the entropy of each learned token's distribution.
    """
    mask_BT = learned(batch)
    inputs = {key: value for key, value in keyword_inputs(batch).items() if key not in own}
    targets_N = batch["labels"][:, 1:][mask_BT]
    tokens = losses_at(model, inputs, mask_BT, targets_N, temperature=temperature, entropy=entropy)
    if tokens is not None:
        values_N, entropy_N = -tokens.nll_N, tokens.entropy_N
    else:
        logits_NV = logits_at(model, inputs, mask_BT)
        values_N = token_logprobs(logits_NV, targets_N, temperature)
        entropy_N = token_entropies(logits_NV, temperature) if entropy else None
    entropy_BT = None if entropy_N is None else _spread(entropy_N, mask_BT)
    return TokenLogprobs(_spread(values_N, mask_BT), mask_BT, entropy_BT)


def _spread(values_N: Tensor, mask_BT: Tensor) -> Tensor:
    """Values back at their positions [B, T-1], zeros elsewhere."""
    return values_N.new_zeros(mask_BT.shape).masked_scatter(mask_BT, values_N)
