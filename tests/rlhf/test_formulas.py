"""The small functions that every objective is made of, against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from swift.rlhf.advantage.baseline import BASELINES
from swift.rlhf.advantage.discount import discounted
from swift.rlhf.advantage.scale import SCALES, group_std
from swift.rlhf.aggregate import AGGREGATIONS
from swift.rlhf.algorithms import ALGORITHMS
from swift.rlhf.kl import ESTIMATORS, k1, k2, k3
from swift.rlhf.logprobs import ROWS, batch_logprobs, token_entropies, token_logprobs
from swift.rlhf.loss.preference import Pairs, sigmoid
from swift.rlhf.ratio import token
from swift.rlhf.surrogate import clipped, outside_clip

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 2.0, 2.0, 6.0], [5.0, 5.0, 5.0, 5.0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool)
VALUES = torch.tensor([[1.0, 2.0, 6.0, 99.0], [4.0, 99.0, 99.0, 99.0]])


def test_baselines() -> None:
    assert BASELINES["group_mean"](REWARDS).tolist() == [[0.5], [3.0], [5.0]]
    expected = [[1 / 3, 2 / 3, 2 / 3, 1 / 3], [10 / 3, 10 / 3, 10 / 3, 2.0], [5.0] * 4]
    assert torch.allclose(BASELINES["leave_one_out"](REWARDS), torch.tensor(expected))
    assert not BASELINES["none"](REWARDS).any()


def test_group_advantages_of_grpo() -> None:
    deviation = math.sqrt(1 / 3)  # of 1, 0, 0, 1 with three in the denominator
    advantages = (REWARDS - BASELINES["group_mean"](REWARDS)) / SCALES["group"](REWARDS, 1e-4)
    expected = 0.5 / (deviation + 1e-4)
    assert advantages[0].tolist() == pytest.approx([expected, -expected, -expected, expected])
    assert advantages[1].tolist() == pytest.approx([-1 / 2.0001] * 3 + [3 / 2.0001])
    assert advantages[2].tolist() == [0.0] * 4
    assert set(SCALES["none"](REWARDS, 1e-4).flatten().tolist()) == {1.0}
    assert group_std(torch.tensor([[3.0]])).item() == 0.0


def test_discount_counts_from_the_last_token() -> None:
    mask = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], dtype=torch.bool)
    advantages = torch.tensor([2.0, -1.0])
    assert discounted(advantages, mask, 1.0).tolist() == [[0, 2, 2, 2, 0], [0, 0, -1, 0, 0]]
    assert discounted(advantages, mask, 0.5).tolist() == [[0, 0.5, 1, 2, 0], [0, 0, -1, 0, 0]]


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("token_mean", 13 / 4),
        ("local_token_mean", 13 / 4),
        ("seq-mean-token-mean", (3 + 4) / 2),
        ("seq-mean-token-sum", (9 + 4) / 2),
        ("constant", 13 / (2 * 10)),
    ],
)
def test_aggregations(name: str, mean: float) -> None:
    aggregation = AGGREGATIONS[name]
    value = aggregation.total(VALUES, MASK) / aggregation.count(MASK, 10)
    assert value.item() == pytest.approx(mean)


def test_every_algorithm_names_an_aggregation() -> None:
    assert {algorithm.aggregation for algorithm in ALGORITHMS.values()} <= set(AGGREGATIONS)
    assert ALGORITHMS["dapo"].aggregation == "token_mean"
    assert ALGORITHMS["grpo"].aggregation == "seq-mean-token-mean"


def test_kl_estimators_agree_with_the_divergence_on_average() -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(5).log_softmax(-1), torch.randn(5).log_softmax(-1)
    divergence = (policy.exp() * (policy - reference)).sum()
    for unbiased in (k1, k3):
        assert torch.allclose((policy.exp() * unbiased(policy, reference)).sum(), divergence, atol=1e-6)
    assert (k3(policy, reference) >= 0).all()
    assert torch.allclose(k2(policy, reference), (policy - reference) ** 2 / 2)
    assert set(ESTIMATORS) == {"k1", "k2", "k3"}


def test_clipping_stops_the_gradient_beyond_the_range() -> None:
    logps = torch.log(torch.tensor([[0.5, 0.9, 1.0, 1.5, 0.5, 1.5]])).requires_grad_()
    advantages = torch.tensor([[1.0, 1.0, 1.0, 1.0, -1.0, -1.0]])
    ratio = token(logps, torch.zeros(1, 6), torch.ones(1, 6))
    losses = clipped(ratio, advantages, 0.2, 0.28)
    assert losses[0].tolist() == pytest.approx([-0.5, -0.9, -1.0, -1.28, 0.8, 1.5])
    torch.autograd.backward(losses.sum())
    assert logps.grad is not None
    assert logps.grad[0].tolist() == pytest.approx([-0.5, -0.9, -1.0, 0.0, 0.0, 1.5])
    low, high = outside_clip(ratio, advantages, 0.2, 0.28)
    assert low[0].tolist() == [False, False, False, False, True, False]
    assert high[0].tolist() == [False, False, False, True, False, False]


def test_sigmoid_loss_and_its_smoothing() -> None:
    ones = torch.ones(2)
    pairs = Pairs(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 4.0]), ones, ones)
    plain = [math.log1p(math.exp(-0.2)), math.log1p(math.exp(0.4))]
    swapped = [math.log1p(math.exp(0.2)), math.log1p(math.exp(-0.4))]
    assert sigmoid(pairs, 0.1, 0.0).tolist() == pytest.approx(plain)
    smoothed = [0.9 * a + 0.1 * b for a, b in zip(plain, swapped, strict=True)]
    assert sigmoid(pairs, 0.1, 0.1).tolist() == pytest.approx(smoothed)


def test_token_logprobs_and_entropies_of_a_temperature() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(ROWS + 3, 11) * 3, torch.randint(11, (ROWS + 3,))
    expected = (logits / 0.7).log_softmax(-1)
    values = token_logprobs(logits, targets, 0.7)
    assert torch.allclose(values, expected.gather(1, targets[:, None])[:, 0], atol=1e-6)
    entropies = -(expected.exp() * expected).sum(-1)
    assert torch.allclose(token_entropies(logits, 0.7), entropies, atol=1e-5)
    assert token_entropies(logits[:0]).shape == (0,)
    assert token_logprobs(logits.bfloat16(), targets).dtype == torch.float32


class Table(nn.Module):
    """A "model" whose logits are looked up by position: every gradient can be read off."""

    def __init__(self, logits_BTV: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits_BTV)
        self.columns = 0

    def forward(self, input_ids: Tensor, logits_to_keep: Tensor, use_cache: bool) -> object:
        from types import SimpleNamespace

        self.columns = len(logits_to_keep)
        return SimpleNamespace(logits=self.logits[:, logits_to_keep])


def test_batch_logprobs_touch_only_what_is_learned() -> None:
    torch.manual_seed(0)
    ids = torch.randint(7, (2, 6))
    labels = ids.clone()
    labels[0, :3] = labels[1, :4] = labels[1, 5:] = -100
    model = Table(torch.randn(2, 6, 7))
    tokens = batch_logprobs(
        model, {"input_ids": ids, "labels": labels, "mine": 1}, own=("mine",), entropy=True
    )
    assert model.columns == 3, "logits are needed at positions 2, 3 and 4 alone"
    expected = model.logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    assert tokens.mask.tolist() == [[False, False, True, True, True], [False, False, False, True, False]]
    assert torch.allclose(tokens.values, expected * tokens.mask, atol=1e-6)
    assert tokens.entropy is not None
    assert (tokens.entropy > 0).equal(tokens.mask)
    torch.autograd.backward(tokens.values.sum())
    assert model.logits.grad is not None
    assert (model.logits.grad.abs().sum(-1) > 0)[:, :-1].equal(tokens.mask)
