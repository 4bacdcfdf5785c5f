"""When AdaLoRA drops triplets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import peft

from swift.core.errors import ConfigError
from swift.core.train.callbacks.contract import Callback
from swift.tuners.adalora.config import AdaloraConfig

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

UNKNOWN_STEPS = 10**9
FIRST, LAST = 0.1, 0.2  # shares of the training before the first and after the last drop
SMOOTHED = ("exp_avg_ipt", "exp_avg_unc")


class RankAllocation(Callback):
    """Tells peft the run's steps, and after each of them lets it drop triplets."""

    def __init__(self, config: AdaloraConfig) -> None:
        self.config = config
        self.trainer: Trainer | None = None
        self._settled = False  # before a checkpoint: then a longer run leaves the ranks as they are

    def attach(self, trainer: Trainer) -> None:
        """Remember the trainer."""
        self.trainer = trainer

    @property
    def _adapted(self) -> peft.PeftModel:
        assert self.trainer is not None
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the schedule.

        Raises:
            ConfigError: no step is left for dropping.
        """
        total = self.config.total_step or state.max_steps
        first = int(FIRST * total) if self.config.tinit is None else self.config.tinit
        last = int(LAST * total) if self.config.tfinal is None else self.config.tfinal
        if first >= total - last:
            raise ConfigError(
                f"train.tinit={first} and train.tfinal={last} leave none of {total} steps for dropping ranks",
                "lower one of them, or train longer",
            )
        config = self._adapted.active_peft_config
        config.total_step, config.tinit, config.tfinal = total, first, last

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights have moved, and their gradients are still there."""
        base: Any = self._adapted.base_model
        if self._settled:
            base.rankallocator.mask_using_rank_pattern(
                base.model, self._adapted.active_peft_config.rank_pattern
            )
        else:
            base.update_and_allocate(state.global_step + 1)

    def state_dict(self) -> dict[str, Any]:
        """What is known of each weight's importance, and which triplets are left."""
        allocator = self._adapted.base_model.rankallocator
        smoothed = {key: dict(getattr(allocator, key)) for key in SMOOTHED}
        return {**smoothed, "rank_pattern": self._adapted.active_peft_config.rank_pattern}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        allocator = self._adapted.base_model.rankallocator
        device = next(self._adapted.parameters()).device
        for key in SMOOTHED:
            setattr(allocator, key, {name: value.to(device) for name, value in state[key].items()})
        allocator.ipt = dict(allocator.exp_avg_ipt)  # computed anew at each step; says which names are known
        self._adapted.active_peft_config.rank_pattern = state["rank_pattern"]
        self._settled = bool(state["rank_pattern"]) and not state["exp_avg_ipt"]  # peft forgets it at the end
