"""Settings of training a part of the weights."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from swift.core.config.schema import Config, Names


def _readable(patterns: list[str]) -> list[str]:
    for text in patterns:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is neither a name nor a regular expression: {error}") from error
    return patterns


Patterns = Annotated[Names, AfterValidator(_readable)]


class FreezeConfig(Config):
    """train: chosen weights as they are.

    A pattern is a name or a regular expression that matches whole parts of a parameter's name: "lm_head",
    "layers.3", "self_attn.q_proj", ".*norm".
    """

    freeze_trainable_layers: int | list[int] | None = Field(
        None,
        description="layers that train: the last n, the first n for -n, or a list of numbers; "
        "default: the last 2, if no other key chooses weights",
    )
    freeze_extra_modules: Names = Field(
        default_factory=list,
        description="modules that train beside the layers: embeddings, head, norms, or names",
    )
    freeze_parameters_ratio: float | None = Field(
        None, ge=0.0, le=1.0, description="this first share of all parameters stays frozen, the rest trains"
    )
    freeze_parameters: Patterns = Field(
        default_factory=list, description="names or regular expressions of weights that stay frozen"
    )
    trainable_parameters: Patterns = Field(
        default_factory=list,
        description="names or regular expressions of weights that train, whatever else is frozen",
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.freeze_trainable_layers is not None and self.freeze_parameters_ratio is not None:
            raise ValueError(
                "freeze_trainable_layers and freeze_parameters_ratio both say where training begins: set one"
            )
        if self.freeze_trainable_layers in (0, []):
            raise ValueError("freeze_trainable_layers chooses no layer: leave it out, or name some")
        return self
