"""Losses of vectors. Shapes: N anchors with a positive each, M candidates, P pairs. Cosines: -1 to 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def infonce(inputs: Tensor, targets: Tensor, temperature: float = 0.05) -> Tensor:
    """-log exp(c_p / t) / sum_m exp(c_m / t): which candidate belongs to the anchor (arXiv 1807.03748).

    Args:
        inputs: cosines [N, M] of each anchor with every candidate.
        targets: int64 [N], the column p of its positive.
        temperature: t; smaller ones look at the hardest negatives only.

    Returns:
        float32 [N].
    """
    return functional.cross_entropy(inputs.float() / temperature, targets, reduction="none")


def cosine(inputs: Tensor, targets: Tensor) -> Tensor:
    """(c - y)^2: the cosine is to equal the given similarity (arXiv 1908.10084, 3).

    Args:
        inputs: cosines [P].
        targets: similarities [P] in [-1, 1].

    Returns:
        float32 [P].
    """
    return (inputs.float() - targets.float()) ** 2


def cosent(inputs: Tensor, targets: Tensor, temperature: float = 0.05) -> Tensor:
    """log(1 + sum over pairs i, j with y_i > y_j of exp((c_j - c_i) / t)): the order of cosines counts.

    A loss of the whole batch (CoSENT, kexue.fm/archives/8847).

    Args:
        inputs: cosines [P].
        targets: similarities [P] on any scale.

    Returns:
        float32 scalar.
    """
    scaled = inputs.float() / temperature
    differences_PP = scaled[None, :] - scaled[:, None]
    ordered_PP = targets[:, None] > targets[None, :]
    wrong = differences_PP[ordered_PP]
    return torch.cat([wrong.new_zeros(1) + 0 * scaled.sum(), wrong]).logsumexp(0)


def contrastive(inputs: Tensor, targets: Tensor, margin: float = 0.5) -> Tensor:
    """y d^2 / 2 + (1 - y) max(0, margin - d)^2 / 2 with d = 1 - c (Hadsell et al., CVPR 2006).

    Args:
        inputs: cosines [P].
        targets: 1 for related pairs, 0 for others [P].
        margin: unrelated pairs farther apart than this are left alone.

    Returns:
        float32 [P].
    """
    distances = 1 - inputs.float()
    related = targets.float()
    apart = functional.relu(margin - distances)
    return (related * distances**2 + (1 - related) * apart**2) / 2


def online_contrastive(inputs: Tensor, targets: Tensor, margin: float = 0.5) -> Tensor:
    """contrastive() times 2 over the hard pairs of a batch alone; the others cost 0.

    A related pair is hard when it is farther apart than the nearest unrelated one, an unrelated pair when it
    is nearer than the farthest related one. Without pairs of the other kind the mean distance decides.

    Args:
        inputs: cosines [P].
        targets: 1 for related pairs, 0 for others [P].

    Returns:
        float32 [P].
    """
    distances = (1 - inputs.float()).detach()
    related = targets > 0.5
    middle = distances.mean()
    nearest = distances[~related].min() if bool((~related).any()) else middle
    farthest = distances[related].max() if bool(related.any()) else middle
    hard = torch.where(related, distances > nearest, distances < farthest)
    return 2 * contrastive(inputs, related, margin) * hard
