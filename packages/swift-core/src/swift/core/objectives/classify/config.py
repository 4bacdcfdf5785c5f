"""Settings of sequence classification."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from swift.core.objectives.loss_config import LossConfig

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

USUAL_LOSS: dict[ProblemType, str] = {
    "single_label_classification": "cross_entropy",
    "multi_label_classification": "binary_cross_entropy",
    "regression": "mse",
}
LAYOUTS: dict[ProblemType, str] = {
    "single_label_classification": "classes",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}
"""What a loss gets, in the words of swift.plugin.contract.kinds."""


class SeqClsConfig(LossConfig):
    """train: predict the label of a text."""

    num_labels: PositiveInt | None = Field(
        None, description="classes, or numbers to predict; default: as many as the labels of the data show"
    )
    problem_type: ProblemType | None = Field(
        None,
        description="default: by the labels: an int is a class, a list of 0 and 1 several labels, "
        "a float a number to predict",
    )
