"""What the labels of the data say about the problem, and labels as tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from swift.core.errors import ConfigError, DataError
from swift.core.objectives.classify.config import ProblemType, SeqClsConfig
from swift.core.types import Encoded

PROBABILISTIC = "binary_cross_entropy"
UNQUESTIONED = 1000
"""Classes that a label may ask for whatever the number of rows; more than rows are ids, not classes."""


def settled(config: SeqClsConfig, samples: Iterable[Encoded] | None) -> SeqClsConfig:
    """The config with problem_type and num_labels filled in from the labels, each of which is checked.

    Args:
        samples: None for a stream, whose labels nobody has seen.

    Raises:
        DataError: a label that does not fit; the message names its row.
        ConfigError: a stream, without both keys set.
    """
    if samples is None:
        if config.problem_type is None or config.num_labels is None:
            raise ConfigError(
                "the labels of a stream are not known before it runs",
                "set train.problem_type and train.num_labels",
            )
        return config
    rows = list(samples)
    problem = config.problem_type or _problem_type(rows)
    width = config.num_labels or _inferred_width(rows, problem)
    for row in rows:
        check_label(row, problem, width)
    if problem == "regression" and any(term.name == PROBABILISTIC for term in config.losses("")):
        for row in rows:
            check_probability(row)
    return config.model_copy(update={"problem_type": problem, "num_labels": width})


def check_label(sample: Encoded, problem: ProblemType, num_labels: int) -> None:
    """Refuse a label that is none of this problem.

    Raises:
        DataError: it is not; the message names the row.
    """
    label, origin = sample.label, sample.origin
    if problem == "single_label_classification":
        if not isinstance(label, int):
            raise DataError(f"{origin}: label {label!r} is not a class", "write classes as 0, 1, 2, ...")
        if not 0 <= label < num_labels:
            raise DataError(
                f"{origin}: label {label} is not one of the {num_labels} classes 0 to {num_labels - 1}",
                "correct the label, or set train.num_labels",
            )
        return
    numbers = label if isinstance(label, list) else [label]
    if problem == "multi_label_classification" and not _is_multi(label):
        raise DataError(
            f"{origin}: label {label!r} is not a list of 0 and 1", "write one 0 or 1 a class: [0, 1, 1]"
        )
    if not all(isinstance(number, int | float) for number in numbers):
        raise DataError(f"{origin}: label {label!r} is not a number", "regression needs numbers")
    if not all(math.isfinite(number) for number in numbers):
        raise DataError(f"{origin}: label {label!r} is not finite", "correct or remove the row")
    if len(numbers) != num_labels:
        raise DataError(
            f"{origin}: label {label!r} has {len(numbers)} entries for num_labels {num_labels}",
            "give every row a list of the same length, or set train.num_labels",
        )


def check_probability(sample: Encoded) -> None:
    """Refuse what the cross-entropy of probabilities has no minimum for.

    Raises:
        DataError: a number beyond 0 and 1; the message names the row.
    """
    numbers = sample.label if isinstance(sample.label, list) else [sample.label]
    if any(isinstance(number, int | float) and not 0 <= number <= 1 for number in numbers):
        raise DataError(
            f"{sample.origin}: label {sample.label!r} is no probability, as loss_type: {PROBABILISTIC} needs",
            "scale the labels to 0..1, or set train.loss_type=mse",
        )


def targets_of(labels: Sequence[Any], problem: ProblemType) -> Tensor:
    """int64 [B] classes; float32 [B, C] of several labels or numbers, [B] of one number."""
    if problem == "single_label_classification":
        return torch.tensor([int(label) for label in labels], dtype=torch.int64)
    targets = torch.tensor(labels, dtype=torch.float32)
    return targets.squeeze(1) if problem == "regression" and targets.shape[1:] == (1,) else targets


def _problem_type(rows: Sequence[Encoded]) -> ProblemType:
    first: dict[ProblemType, Encoded] = {}
    for row in rows:
        first.setdefault(_kind(row), row)
    if len(first) > 1:
        (one, row), (other, another) = list(first.items())[:2]
        raise DataError(
            f"labels of two kinds: {row.label!r} ({row.origin}) means {one}, "
            f"{another.label!r} ({another.origin}) means {other}",
            "write all labels in one way, or set train.problem_type",
        )
    return next(iter(first))


def _kind(row: Encoded) -> ProblemType:
    label = row.label
    if isinstance(label, int):
        return "single_label_classification"
    if isinstance(label, float):
        return "regression"
    if isinstance(label, list) and label:
        return "multi_label_classification" if _is_multi(label) else "regression"
    raise DataError(
        f"{row.origin}: label {label!r} is neither a class, nor a list of 0 and 1, nor a number",
        "number the classes 0, 1, 2, ...",
    )


def _is_multi(label: Any) -> bool:
    return isinstance(label, list) and all(number in (0, 1) for number in label)


def _inferred_width(rows: Sequence[Encoded], problem: ProblemType) -> int:
    widest = max(rows, key=lambda row: _width(row, problem))
    width = _width(widest, problem)
    if width > max(len(rows), UNQUESTIONED):
        raise DataError(
            f"{widest.origin}: label {widest.label!r} means {width} classes, and there are {len(rows)} rows",
            "number the classes 0, 1, 2, ... without gaps, or set train.num_labels",
        )
    return width


def _width(row: Encoded, problem: ProblemType) -> int:
    if problem == "single_label_classification":
        return max(2, row.label + 1) if isinstance(row.label, int) else 2
    return len(row.label) if isinstance(row.label, list) else 1
