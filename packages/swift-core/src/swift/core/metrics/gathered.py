"""Predictions of a whole data set, batch by batch and from all ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from swift.core.errors import ConfigError
from swift.core.types import Predictions

GatherObjects = Callable[[Any], list[Any]]


@dataclass
class Gathered:
    """Predictions so far, on the CPU; queries are numbered through."""

    parts: list[Predictions] = field(default_factory=list)

    def add(self, predictions: Predictions | None) -> None:
        """One batch.

        Raises:
            ConfigError: the objective predicts nothing.
        """
        if predictions is None:
            raise ConfigError("the objective predicts nothing that metrics read", "leave eval.metrics out")
        groups = predictions.groups
        self.parts.append(
            Predictions(
                predictions.kind,
                predictions.predictions.detach().cpu(),
                predictions.references.detach().cpu(),
                groups.detach().cpu() if groups is not None else None,
            )
        )

    def whole(self, gather: GatherObjects = lambda own: [own]) -> Predictions:
        """Everything that was added on all ranks.

        Args:
            gather: one object of each rank to a list of all; default: there is one rank.
        """
        parts = [part for parts in gather(self.parts) for part in parts]
        groups = [part.groups for part in parts if part.groups is not None]
        return Predictions(
            parts[0].kind,
            torch.cat([part.predictions for part in parts]),
            torch.cat([part.references for part in parts]),
            _renumbered(groups) if len(groups) == len(parts) else None,
        )


def _renumbered(groups: list[Tensor]) -> Tensor:
    first, numbers = 0, []
    for group in groups:
        numbers.append(group + first)
        first += int(group.max()) + 1 if len(group) else 0
    return torch.cat(numbers)
