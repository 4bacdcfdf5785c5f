"""What a tuner does beyond choosing parameters. A plugin's tuner need not know any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.trainer_optimizer import is_optimizer_factory

from swift.core.console import say
from swift.core.errors import ConfigError
from swift.core.protocols import Objective, Tuner
from swift.core.train.boundary import Boundary

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from swift.core.train.optimizer import Make
    from swift.core.train.trainer import Trainer
    from swift.core.types import Batch

OWN_LAYOUT = frozenset({"params", "model", "optimizer_dict"})
"""Arguments by which an optimiser of transformers gets its parameters in a way of its own."""


def tuner_callbacks(tuner: Tuner | None) -> Sequence[TrainerCallback]:
    """What a tuner wants to do while training goes on."""
    act = getattr(tuner, "callbacks", None)
    return act() if act is not None else ()


def tuner_penalty(tuner: Tuner | None, model: nn.Module) -> torch.Tensor | None:
    """What a tuner adds to the loss of an optimiser step [scalar]; None: nothing."""
    penalty = getattr(tuner, "penalty", None)
    return penalty(model) if penalty is not None else None


def restore_tuned(tuner: Tuner | None, model: nn.Module, folder: Path) -> bool:
    """Whether the tuner itself put a checkpoint's weights back into the model that it prepared."""
    restore = getattr(tuner, "restore", None)
    return bool(restore(model, folder)) if restore is not None else False


def with_groups(make: Make, groups: list[dict[str, Any]]) -> Make:
    """Class and arguments of an optimiser of transformers, over these groups of parameters.

    Raises:
        ConfigError: the optimiser makes groups of its own.
    """
    made, arguments = make
    if is_optimizer_factory(made) or OWN_LAYOUT & arguments.keys():
        raise group_conflict(getattr(made, "__name__", str(made)))
    return made, {**arguments, "params": groups}


def tuner_groups(
    tuner: Tuner | None, model: nn.Module, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]] | None:
    """The parameter groups that a tuner wants; None: it leaves them to the trainer."""
    groups = getattr(tuner, "parameter_groups", None)
    return groups(model, learning_rate, weight_decay) if groups is not None else None


def group_conflict(optimizer: str) -> ConfigError:
    """An optimiser and a tuner that both decide which parameters go together."""
    return ConfigError(
        f"the tuner gives groups of parameters their own rates, and {optimizer} makes groups of its own",
        "choose another train.optim, such as adamw_torch, or train.tuner_strategy=lora",
    )


def initialize_tuner(trainer: Trainer, model: nn.Module) -> None:
    """Let a tuner start from the first batches of training, which are trained on all the same.

    Every rank hands over its own share of them; a tuner makes the ranks agree. Random numbers and the
    objective are left as if nothing had happened.
    """
    tuner: Any = trainer.tuner
    wanted = getattr(tuner, "batches_wanted", None)
    count = wanted() if wanted is not None else 0
    if count < 1:
        return
    say(f"looking at the first {count} batches for the start of the tuner")
    with undisturbed(trainer.objective):
        batches = first_batches(trainer, count)
        tuner.initialize(model, batches, lambda part, batch: mean_loss(trainer, part, batch))


@contextmanager
def undisturbed(objective: Objective) -> Iterator[None]:
    """Random generators and the objective's state are afterwards what they were."""
    before = Boundary.of(objective)
    try:
        yield
    finally:
        before.restore()
        objective.load_state_dict(before.objective)


def first_batches(trainer: Trainer, count: int) -> list[Batch]:
    """This rank's first batches, completed by the objective; fewer where the data ends."""
    drawn = [trainer.ready(batch) for batch in islice(trainer.get_train_dataloader(), count)]
    return trainer.objective.prepare(trainer.model, drawn, 0)


def mean_loss(trainer: Trainer, model: nn.Module, batch: Batch) -> torch.Tensor:
    """The objective's loss as a mean over this batch alone [scalar], with gradient."""
    count = torch.as_tensor(trainer.objective.count(batch)).to(trainer.args.device)
    with trainer.compute_loss_context_manager():
        return trainer.objective.loss(model, batch, count.float().clamp(min=1.0)).loss
