"""Figures against formulas, against the libraries they come from, and of texts that are easy to misjudge."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from swift.core.errors import ConfigError, DataError
from swift.core.metrics.accuracy import accuracy
from swift.core.metrics.bleu import bleu, chosen_tokenizer
from swift.core.metrics.correlation import pearson, spearman
from swift.core.metrics.exact_match import exact_match
from swift.core.metrics.f1 import f1
from swift.core.metrics.gathered import Gathered
from swift.core.metrics.mrr import mrr
from swift.core.metrics.mse import mse
from swift.core.metrics.ndcg import ndcg
from swift.core.metrics.rouge import rouge
from swift.core.metrics.scripts import words
from swift.core.metrics.token_accuracy import token_accuracy
from swift.core.types import Predictions

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [1.0, 4.0, 0.0], [5.0, 1.0, 2.0]])
SEVERAL = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])


def test_classes() -> None:
    classes = torch.tensor([0, 2, 0, 0])
    assert accuracy(LOGITS, classes) == 0.75
    # class 0: 2 of 2 right, 2 of 3 found; class 1: never right; class 2: perfect
    assert f1(LOGITS, classes) == pytest.approx((0.8 + 0 + 1) / 3)
    assert f1(LOGITS, classes, average="micro") == pytest.approx(0.75)
    assert token_accuracy(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4])) == pytest.approx(2 / 3)


def test_several_labels() -> None:
    logits = torch.where(SEVERAL > 0, 2.0, -2.0)
    logits[3] = torch.tensor([2.0, 2.0, 2.0])
    assert accuracy(logits, SEVERAL) == 0.75, "one wrong label makes a text wrong"
    # labels: 3/3 and 3/3; precision 3/4; 2/2
    assert f1(logits, SEVERAL) == pytest.approx((1 + 6 / 7 + 1) / 3)
    assert accuracy(torch.full((4, 3), 1.0), SEVERAL, threshold=0.9) == 0, "0.73 is below 0.9: none predicted"


def test_numbers() -> None:
    predicted, true = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert mse(predicted, true) == pytest.approx((0 + 0 + 1 + 16) / 4)
    assert pearson(predicted, true) == pytest.approx(np.corrcoef(predicted, true)[0, 1])
    assert spearman(predicted, true) == pytest.approx(1.0)
    assert spearman(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(
        math.sqrt(3) / 2
    )
    assert pearson(torch.ones(3), true[:3]) == 0.0, "a constant says nothing"
    with pytest.raises(ConfigError, match="'accuracy' compares classes"):
        accuracy(predicted, true)
    with pytest.raises(ConfigError, match="'mse' compares numbers"):
        mse(LOGITS, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(ConfigError, match=r"threshold=1\.5"):
        accuracy(LOGITS, torch.tensor([0, 1, 2, 0]), threshold=1.5)


def test_rankings() -> None:
    scores = torch.tensor([0.9, 0.8, 0.1, 0.5, 0.7, 0.6])
    relevance = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    assert mrr(scores, relevance, groups) == pytest.approx((1 / 2 + 1 / 3) / 2)
    first = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert ndcg(scores, relevance, groups) == pytest.approx((first + 1 / math.log2(4)) / 2)
    assert ndcg(scores, relevance, groups, k=1) == 0.0
    mixed = torch.tensor([3, 1, 5, 4, 0, 2])  # the rows' order does not matter
    assert mrr(scores[mixed], relevance[mixed], groups[mixed]) == mrr(scores, relevance, groups)


def test_equal_scores_earn_nothing() -> None:
    assert mrr(torch.zeros(4), torch.tensor([1.0, 0, 0, 0])) == 0.25
    with pytest.raises(DataError, match="'mrr' ranks a relevant document among others"):
        mrr(torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize("metric", [mrr, ndcg])
def test_a_document_alone_says_nothing(metric: Callable[..., float]) -> None:
    with pytest.raises(DataError, match="among others"):
        metric(torch.zeros(2), torch.ones(2), torch.tensor([0, 1]))
    with_one_more = metric(torch.tensor([0.1, 0.9, 5.0]), torch.tensor([1.0, 0, 1]), torch.tensor([0, 0, 1]))
    assert with_one_more == metric(torch.tensor([0.1, 0.9]), torch.tensor([1.0, 0.0]), torch.tensor([0, 0]))


def test_exact_match_ignores_white_space_around() -> None:
    assert exact_match(["a b ", "a  b", "A"], ["a b", "a b", "a"]) == pytest.approx(1 / 3)


def test_bleu_is_that_of_sacrebleu() -> None:
    import sacrebleu

    said, truth = ["the cat sat on the mat", "it is a guide"], ["the cat is on the mat", "it is a guide"]
    assert bleu(said, truth) == pytest.approx(sacrebleu.corpus_bleu(said, [truth]).score)
    assert bleu(truth, truth) == pytest.approx(100)
    with pytest.raises(KeyError):
        bleu(said, truth, tokenize="no such tokenizer")


@pytest.mark.parametrize(
    ("said", "truth", "tokenizer"),
    [
        ("今天的天气非常好。我们去公园吧", "今天的天气很好。我们去公园吧", "zh"),
        ("今日は天気がとてもいいですね", "今日は天気がいいですね", "char"),
        ("วันนี้อากาศดีมากเลย", "วันนี้อากาศดีมาก", "char"),
    ],
)
def test_scripts_without_spaces_do_not_score_zero(said: str, truth: str, tokenizer: str) -> None:
    assert chosen_tokenizer([truth]) == tokenizer
    assert 40 < bleu([said], [truth]) < 100
    assert bleu([said], [truth], tokenize="13a") < 10, "what would happen otherwise"
    scores = rouge([said], [truth])
    assert 0.5 < scores["rouge2"] < 1 and scores["rougeL"] <= scores["rouge1"] < 1


def test_rouge_of_english_is_that_of_rouge_score() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    said, truth = "The quick-brown fox_jumped, 2 times!", "A quick brown fox jumps 2 times over it."
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(truth, said)
    assert rouge([said], [truth]) == {kind: score.fmeasure for kind, score in theirs.items()}
    assert words("Été 2024 你好 don't") == ["été", "2024", "你", "好", "don", "t"]


def test_queries_are_numbered_through_batches_and_ranks() -> None:
    def part(scores: list[float], relevance: list[float], groups: list[int]) -> Predictions:
        return Predictions("scores", torch.tensor(scores), torch.tensor(relevance), torch.tensor(groups))

    gathered = Gathered()
    gathered.add(part([1.0, 0.0, 0.5, 0.4], [1.0, 0.0, 1.0, 0.0], [0, 0, 1, 1]))
    gathered.add(part([0.2, 0.4], [1.0, 0.0], [0, 0]))
    other = [part([9.0], [0.0], [0])]
    whole = gathered.whole(lambda own: [own, other])
    assert whole.groups is not None and whole.groups.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert mrr(whole.predictions, whole.references, whole.groups) == pytest.approx((1 + 1 + 1 / 2) / 3)
    with pytest.raises(ConfigError, match="predicts nothing"):
        gathered.add(None)
