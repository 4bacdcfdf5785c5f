"""Losses against formulas written out again, and against other libraries' words for them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from swift.core.objectives.classify.losses import binary_cross_entropy, mse
from swift.core.objectives.embed.candidates import Texts, cosines_with_candidates, text_keys
from swift.core.objectives.embed.losses import contrastive, cosent, cosine, infonce, online_contrastive
from swift.core.objectives.embed.pool import pool
from swift.core.objectives.loss_form import EXCLUDED
from swift.core.objectives.rerank.losses import listwise
from swift.core.objectives.rerank.objective import as_lists
from swift.core.types import Encoded


def unit(rows: int, width: int = 5, seed: int = 0) -> torch.Tensor:
    return functional.normalize(
        torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1
    )


def test_binary_cross_entropy_and_squared_error_keep_one_value_an_item() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0.0]])
    p = logits.double().sigmoid().numpy()
    y = labels.numpy()
    by_hand = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(1)
    assert binary_cross_entropy(logits, labels).numpy() == pytest.approx(by_hand, rel=1e-5)
    assert binary_cross_entropy(logits[:, 0], labels[:, 0]).shape == (4,)
    assert mse(logits, labels).numpy() == pytest.approx(((logits - labels) ** 2).mean(1).numpy())


def test_infonce_is_the_share_of_the_positive_among_all_candidates() -> None:
    cosines = torch.tensor([[0.9, 0.1, -0.3], [0.2, 0.4, 0.5]])
    values = infonce(cosines, torch.tensor([0, 1]), temperature=0.5)
    rows = [[math.exp(c / 0.5) for c in row] for row in cosines.tolist()]
    assert values.tolist() == pytest.approx(
        [-math.log(rows[0][0] / sum(rows[0])), -math.log(rows[1][1] / sum(rows[1]))]
    )


def texts_of(owners: list[int], related: list[int], keys: list[int], vectors: torch.Tensor) -> Texts:
    return Texts(
        vectors, torch.tensor(keys), torch.tensor([100 + o for o in owners]), torch.tensor(related).bool()
    )


def test_other_positives_and_equal_texts_are_no_negatives() -> None:
    anchors, vectors = unit(2), unit(5, seed=1)
    owners = [0, 0, 0, 1, 1]
    # anchor 0: two positives and a negative; the positive of anchor 1 equals the first of anchor 0
    texts = texts_of(owners, [1, 1, 0, 1, 0], [7, 8, 9, 7, 10], vectors)
    cosines, column = cosines_with_candidates(
        anchors[torch.tensor(owners)], texts, in_batch=True, across_ranks=False
    )
    assert column.tolist() == [0, 1, 3]
    kept = (cosines != EXCLUDED).int().tolist()
    assert kept == [[1, 0, 1, 0, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    expected = anchors[torch.tensor([0, 0, 1])] @ vectors.T
    assert torch.allclose(cosines[cosines != EXCLUDED], expected[cosines != EXCLUDED])
    alone, _ = cosines_with_candidates(
        anchors[torch.tensor(owners)], texts, in_batch=False, across_ranks=False
    )
    assert (alone != EXCLUDED).int().tolist() == [[1, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


def test_an_excluded_candidate_costs_and_learns_nothing() -> None:
    cosines = torch.tensor([[0.3, 0.8, EXCLUDED]], requires_grad=True)
    infonce(cosines, torch.tensor([0])).sum().backward()
    assert cosines.grad is not None and cosines.grad[0, 2] == 0
    without = infonce(torch.tensor([[0.3, 0.8]]), torch.tensor([0]))
    assert infonce(cosines, torch.tensor([0])).item() == pytest.approx(without.item())


def test_text_keys_tell_texts_apart() -> None:
    samples = [Encoded(np.array(ids, np.int32), np.array(ids, np.int32)) for ids in ([1, 2], [1, 2], [2, 1])]
    one, same, other = text_keys(samples).tolist()
    assert one == same != other


def test_cosent_counts_every_pair_in_the_wrong_order() -> None:
    cosines, scores = torch.tensor([0.1, 0.7, 0.4]), torch.tensor([0.9, 0.2, 0.5])
    wrong = sum(
        math.exp((cosines[j] - cosines[i]).item() / 0.05)
        for i in range(3)
        for j in range(3)
        if scores[i] > scores[j]
    )
    assert cosent(cosines, scores).item() == pytest.approx(math.log(1 + wrong), rel=1e-5)
    equal = torch.tensor([0.1, 0.2], requires_grad=True)
    cosent(equal, torch.ones(2)).backward()  # nothing is in order: no loss, and still a gradient
    assert equal.grad is not None and equal.grad.tolist() == [0, 0]


def test_contrastive_pulls_related_pairs_and_pushes_near_unrelated_ones() -> None:
    cosines, labels = torch.tensor([0.8, 0.8, 0.2]), torch.tensor([1, 0, 0])
    assert contrastive(cosines, labels).tolist() == pytest.approx([0.2**2 / 2, 0.3**2 / 2, 0.0], abs=1e-6)
    assert cosine(cosines, labels.float()).tolist() == pytest.approx([0.04, 0.64, 0.04], abs=1e-6)


def test_online_contrastive_keeps_the_hard_pairs() -> None:
    cosines = torch.tensor([0.9, 0.3, 0.6, -0.5])  # distances 0.1, 0.7 | 0.4, 1.5
    labels = torch.tensor([1, 1, 0, 0])
    # hard: the related pair farther than 0.4, the unrelated one nearer than 0.7
    assert online_contrastive(cosines, labels).tolist() == pytest.approx([0, 0.7**2, 0.1**2, 0], abs=1e-6)


def test_listwise_is_listnet_over_the_documents_of_a_query() -> None:
    scores = as_lists(torch.tensor([2.0, 1.0, 0.5, 3.0, 1.0]), torch.tensor([0, 0, 0, 1, 1]), EXCLUDED)
    relevance = as_lists(torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]), torch.tensor([0, 0, 0, 1, 1]), 0.0)
    assert scores.shape == (2, 3) and scores[1, 2] == EXCLUDED
    first = [math.exp(x) for x in (2.0, 1.0, 0.5)]
    second = [math.exp(x) for x in (3.0, 1.0)]
    expected = [
        -0.5 * math.log(first[0] / sum(first)) - 0.5 * math.log(first[1] / sum(first)),
        -math.log(second[1] / sum(second)),
    ]
    assert listwise(scores, relevance).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("side", ["right", "left"])
def test_pooling_sees_no_padding(side: str) -> None:
    hidden = torch.randn(1, 3, 4)
    padded = torch.cat([hidden, torch.full((1, 2, 4), 9.0)], 1)
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    if side == "left":
        padded, mask = padded.flip(1), mask.flip(1)
        hidden = hidden.flip(1)
    expected = {"last": hidden[:, -1], "cls": hidden[:, 0], "mean": hidden.mean(1)}
    for how, vector in expected.items():
        assert torch.allclose(
            pool(padded, mask, how),  # type: ignore[arg-type]
            functional.normalize(vector, dim=-1),
            atol=1e-6,
        )
