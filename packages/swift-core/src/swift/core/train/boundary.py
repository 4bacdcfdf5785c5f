"""What a checkpoint of the last whole step needs when the next one has failed halfway."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from swift.core.protocols import Objective


@dataclass(frozen=True)
class Boundary:
    """The state between two steps that the forward pass of a step changes.

    Weights, optimiser and schedule change at a step's end only. A failed step has drawn random numbers,
    though, and has taken prepared batches from the objective.
    """

    python_rng: Any
    numpy_rng: Any
    torch_rng: torch.Tensor
    cuda_rng: list[torch.Tensor]
    objective: Mapping[str, Any]

    @classmethod
    def of(cls, objective: Objective) -> Boundary:
        """The present state."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(
            random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda, objective.state_dict()
        )

    def restore(self) -> None:
        """Give the random generators back their state; the objective's is the caller's to use."""
        random.setstate(self.python_rng)
        np.random.set_state(self.numpy_rng)
        torch.set_rng_state(self.torch_rng)
        if self.cuda_rng:
            torch.cuda.set_rng_state_all(self.cuda_rng)


class Boundaries(TrainerCallback):  # type: ignore[misc]
    """Knows the latest state between two steps, or that there is none while the optimiser is at work.

    Attributes:
        latest: None before the first step and within an optimiser's update: weights may be half changed then.
        updating: the optimiser is at work.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.latest: Boundary | None = None
        self.updating = False

    def mark(self) -> None:
        """Nothing of the next step has happened yet."""
        self.latest = Boundary.of(self.objective)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights are about to change."""
        self.latest = None
        self.updating = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step is whole."""
        self.updating = False
        self.mark()
