"""Draws follow the distribution that temperature, top-k and top-p leave, computed here by sorting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swift.core.types import SamplingParams
from swift.infer.engines.transformers.sampler import Draw, largest, sample, uniform


def distribution(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    probabilities = (logits.double() / params.temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    kept = order[: params.top_k] if params.top_k else order
    mass = probabilities[kept] / probabilities[kept].sum()
    count = int((mass.cumsum(0) - mass < params.top_p).sum())
    result = torch.zeros_like(probabilities)
    result[kept[:count]] = probabilities[kept[:count]]
    return result / result.sum()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.5, top_k=5),
        SamplingParams(temperature=1.5, top_p=0.6),
        SamplingParams(temperature=1.0, top_k=30, top_p=0.8),
        SamplingParams(temperature=3.0, top_p=0.99),  # needs more than the candidates tried first
    ],
)
def test_draws_follow_the_distribution(params: SamplingParams) -> None:
    logits = torch.randn(600, generator=torch.Generator().manual_seed(1)) * 2
    wanted = distribution(logits, params)
    count = 4_000
    drawn = sample(logits.expand(count, -1), [Draw(params, 5, index) for index in range(count)])
    seen = torch.bincount(torch.tensor([one.token for one in drawn]), minlength=600).double() / count
    assert seen[wanted == 0].sum() == 0
    assert float((seen - wanted).abs().sum()) < 3.0 * float((wanted / count).sqrt().sum())


def test_rows_of_different_kinds_do_not_mix() -> None:
    logits = torch.randn(4, 128, generator=torch.Generator().manual_seed(2))
    kinds = [
        SamplingParams(temperature=0.0, logprobs=2),
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=1.0, top_k=1),
        SamplingParams(temperature=1e-12),
    ]
    drawn = sample(logits, [Draw(params, 3, 0) for params in kinds])
    best = logits.argmax(-1).tolist()
    assert [drawn[0].token, drawn[2].token, drawn[3].token] == [best[0], best[2], best[3]]
    assert drawn[1].token == sample(logits[1:2], [Draw(kinds[1], 3, 0)])[0].token
    assert drawn[0].top is not None and len(drawn[0].top) == 2 and drawn[1].logprob is None


def test_logits_that_are_not_numbers_are_marked() -> None:
    logits = torch.randn(3, 64)
    logits[1, 5] = float("nan")
    drawn = sample(logits, [Draw(SamplingParams(temperature=t), 0, 0) for t in (0.0, 0.0, 1.0)])
    assert [one.finite for one in drawn] == [True, False, True]


@pytest.mark.parametrize("vocabulary", [640, 641])
def test_largest_is_the_first_maximum(vocabulary: int) -> None:
    logits = torch.randint(0, 50, (40, vocabulary)).float()
    values, indices = largest(logits)
    assert torch.equal(values, logits.max(-1).values)
    assert torch.equal(indices, (logits == values[:, None]).float().argmax(-1))


def test_uniform_numbers_are_uniform_and_repeatable() -> None:
    numbers = uniform([1] * 50_000, list(range(50_000)))
    assert numbers.min() >= 0.0 and numbers.max() < 1.0
    counts, _ = np.histogram(numbers, bins=50, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 95  # chi-square, 49 degrees of freedom, p = 1e-4
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02
    assert uniform([1, -7], [3, 4])[0] == numbers[3]
    assert len({float(uniform([seed], [0])[0]) for seed in range(-50, 1000)}) == 1050
