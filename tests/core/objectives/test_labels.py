"""Labels say what the problem is, and bad ones are refused with their row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swift.core.errors import ConfigError, DataError
from swift.core.objectives.classify.config import SeqClsConfig
from swift.core.objectives.classify.labels import settled, targets_of
from swift.core.types import Encoded


def samples(*labels: Any) -> list[Encoded]:
    ids = np.array([1, 2], np.int32)
    return [Encoded(ids, ids, label=label, origin=f"rows.jsonl:{n + 1}") for n, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("labels", "problem", "width"),
    [
        ((0, 2, 1), "single_label_classification", 3),
        ((0, 0), "single_label_classification", 2),
        ((True, False), "single_label_classification", 2),
        (([0, 1, 1], [1, 0, 0]), "multi_label_classification", 3),
        ((0.5, 2.0), "regression", 1),
        (([0.5, 2.0], [1.5, 0.0]), "regression", 2),
    ],
)
def test_labels_show_the_problem(labels: Any, problem: str, width: int) -> None:
    config = settled(SeqClsConfig(), samples(*labels))
    assert (config.problem_type, config.num_labels) == (problem, width)


@pytest.mark.parametrize(
    ("config", "labels", "words"),
    [
        ({}, (0, 0.5), ["two kinds", "rows.jsonl:1", "rows.jsonl:2", "train.problem_type"]),
        ({}, ("good", "bad"), ["'good'", "number the classes"]),
        ({"num_labels": 2}, (0, 1, 2), ["rows.jsonl:3", "label 2", "0 to 1", "train.num_labels"]),
        ({}, (0, -1), ["label -1", "rows.jsonl:2"]),
        ({}, ([0, 1], [1, 0, 1]), ["rows.jsonl:1", "num_labels 3"]),
        ({"problem_type": "multi_label_classification"}, ([0, 1], 1), ["list of 0 and 1", "rows.jsonl:2"]),
        ({"problem_type": "regression"}, (1.0, "x"), ["'x'", "not a number"]),
        ({"loss_type": "binary_cross_entropy"}, (0.5, 2.0), ["2.0", "no probability", "mse"]),
        ({}, (1.0, float("nan")), ["rows.jsonl:2", "nan", "not finite"]),
        ({}, (0, 10**12), ["rows.jsonl:2", "1000000000001 classes", "2 rows", "train.num_labels"]),
    ],
)
def test_labels_that_do_not_fit(config: dict[str, Any], labels: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        settled(SeqClsConfig(**config), samples(*labels))
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_may_be_regressed_on_request() -> None:
    config = settled(SeqClsConfig(problem_type="regression"), samples(1, 2, 3.5))
    assert config.num_labels == 1
    assert targets_of([1, 2, 3.5], "regression").tolist() == [1, 2, 3.5]
    assert targets_of([[1.5], [2]], "regression").shape == (2,)


def test_a_stream_needs_both_keys() -> None:
    with pytest.raises(ConfigError, match=r"train\.problem_type and train\.num_labels"):
        settled(SeqClsConfig(num_labels=3), None)
    whole = SeqClsConfig(num_labels=3, problem_type="single_label_classification")
    assert settled(whole, None) == whole
