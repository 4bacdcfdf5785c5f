"""Stopping when the evaluation no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import TrainerControl

from swift.core.console import say
from swift.core.errors import ConfigError, did_you_mean
from swift.core.train.arguments import NEVER
from swift.core.train.callbacks.contract import Callback
from swift.core.train.ranks import from_first

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

PREFIX = "eval_"


class EarlyStopping(Callback):
    """Stop after `patience` evaluations in a row that did not improve on the best one.

    Each new best evaluation saves a checkpoint, which save_total_limit never deletes. OUT/final is made of
    the best one.

    Args:
        metric: a figure of the evaluation, with or without "eval_".
        patience: evaluations without improvement until the run stops.
        min_delta: an improvement is larger than this.
        greater_is_better: default: not for a metric whose name ends in "loss".
        final: "best": OUT/final holds the best checkpoint's weights; "last": those of the last step.

    Raises:
        ConfigError: an argument out of its range.
    """

    def __init__(
        self,
        metric: str = "eval_loss",
        patience: int = 3,
        min_delta: float = 0.0,
        greater_is_better: bool | None = None,
        final: str = "best",
    ) -> None:
        self.metric = metric if metric.startswith(PREFIX) else PREFIX + metric
        if patience < 1 or min_delta < 0 or final not in ("best", "last"):
            raise ConfigError(
                f"callback early_stopping: patience={patience}, min_delta={min_delta}, final={final!r}",
                "patience is at least 1, min_delta at least 0, and final is best or last",
            )
        better = not self.metric.endswith("loss") if greater_is_better is None else greater_is_better
        self.sign = 1.0 if better else -1.0
        self.patience = patience
        self.min_delta = min_delta
        self.final = final
        self.best: float | None = None
        self.best_step = 0
        self.waited = 0

    def attach(self, trainer: Trainer) -> None:
        """Needs evaluations while the run trains.

        Raises:
            ConfigError: there are none.
        """
        if trainer.eval_dataset is None or (trainer.args.eval_steps or NEVER) >= NEVER:
            raise ConfigError(
                "the callback early_stopping needs evaluations, and train.eval_steps is not set",
                "set train.eval_steps, and data.split_ratio or data.val_dataset_name",
            )
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """The best evaluation so far, and how long ago it was."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on waiting."""
        self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]
        self._keep()

    def on_evaluate(
        self, args: Any, state: Any, control: TrainerControl, metrics: Mapping[str, float], **kwargs: Any
    ) -> TrainerControl:
        """Compare with the best; every rank goes by what rank 0 measured."""
        if self.metric not in metrics:
            raise ConfigError(
                f"the callback early_stopping goes by {self.metric!r}, which the evaluation does not measure",
                did_you_mean(self.metric, metrics),
            )
        if not self._trainer.is_in_train:
            return control
        value = float(from_first(metrics[self.metric]))
        if self._improves(value):
            self.best, self.best_step, self.waited = value, state.global_step, 0
            self._keep()
            control.should_save = True
            return control
        self.waited += 1
        if self.waited >= self.patience and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Say where the best is."""
        if self.best is None:
            return
        ended = "stopped early" if self.waited >= self.patience else "no early stop"
        best = f"best {self.metric} {self.best:.4g} in checkpoint-{self.best_step}"
        say(f"{ended} at step {state.global_step}: {best}")

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return self.best is None or self.sign * (value - self.best) > self.min_delta

    def _keep(self) -> None:
        if self.best is None:
            return
        self._trainer.protected_step = self.best_step
        if self.final == "best":
            self._trainer.final_step = self.best_step
